"""How parts of an image predict each other: products of all pairs of views, one worker frozen.

The digits are seen through four windows. The cross-covariance of every two different windows is one
product, and each window occurs in three of them. In a batch a window is encoded once for all of its
products, and any worker may be lost: what it held is decoded from the others.

    python examples/batch_of_views.py
"""

import itertools

import dask.array as da
import numpy as np
from sklearn.datasets import load_digits

from dask_coded import coded_matmul_batch, plan_matmul_batch, report
from dask_coded.testing import EmulatedCluster, assert_clean


def windows():
    """Centered windows of 4 x 4 pixels, ``(images, 16)`` each, by name."""
    images = load_digits().images
    corners = {"top left": (0, 0), "top right": (0, 4), "bottom left": (4, 0), "center": (2, 2)}
    cut = {
        name: images[:, row : row + 4, column : column + 4].reshape(len(images), -1)
        for name, (row, column) in corners.items()
    }
    return {name: view - view.mean(axis=0) for name, view in cut.items()}


def main():
    views = windows()
    arrays = {name: da.from_array(view, chunks=view.shape) for name, view in views.items()}
    names = list(itertools.combinations(views, 2))
    pairs = [(arrays[a].T, arrays[b]) for a, b in names]
    with EmulatedCluster(8) as cluster, cluster.client() as client:
        print(plan_matmul_batch(pairs, parity=2))
        coded = coded_matmul_batch(pairs, parity=2)
        cluster.freeze("w3")
        covariances = client.gather(client.compute(coded))
        cluster.thaw("w3")
        print(f"\n{report(client).totals['arrived']} shares arrived while one worker was frozen")
        del coded
        assert_clean(client)
    worst = max(
        np.abs(found - views[a].T @ views[b]).max() / np.abs(found).max()
        for found, (a, b) in zip(covariances, names, strict=True)
    )
    print(f"largest relative difference from NumPy: {worst:.1e}\n")
    for (a, b), found in zip(names, covariances, strict=True):
        spread = np.linalg.norm(views[a].T @ views[a]) * np.linalg.norm(views[b].T @ views[b])
        print(f"{a:>12} and {b:12} RV coefficient {np.linalg.norm(found) ** 2 / spread:.2f}")


if __name__ == "__main__":
    main()
