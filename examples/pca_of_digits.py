"""Principal components of real data, while every product loses three shares at random.

Subspace iteration multiplies the same matrix again and again: ``V <- orth(X.T @ (X @ V))``. That is
where coding pays best: X is encoded once, and each product then needs *any* 9 of 12 share results.
There is no cluster here, only NumPy: a lost share is one whose result is not looked at.

    python examples/pca_of_digits.py
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from dask_coded import MDS, combine

N_COMPONENTS = 6
N_ITERATIONS = 80
N_LOST = 3


class CodedMatrix:
    """A matrix that is stored as shares of its row blocks, and multiplied from the survivors."""

    def __init__(self, matrix, code):
        self.n_rows = len(matrix)
        self.code = code
        padding = -self.n_rows % code.k
        blocks = np.split(np.pad(matrix, ((0, padding), (0, 0))), code.k)
        self.shares = combine(code.generator(0), blocks)

    def product(self, vectors, survivors):
        """``matrix @ vectors`` from the shares in `survivors`, and the decoder that was used."""
        results = {i: self.shares[i] @ vectors for i in survivors}
        decoder = self.code.decoder(survivors)
        outputs = combine(decoder.weights, [results[i] for i in decoder.shares])
        return np.concatenate(outputs)[: self.n_rows], decoder


def main():
    images, _ = load_digits(return_X_y=True)
    x = images - images.mean(axis=0)
    rng = np.random.default_rng(0)

    code = MDS(n_shares=12, k=9)
    rows, columns = CodedMatrix(x, code), CodedMatrix(np.ascontiguousarray(x.T), code)

    print(f"{x.shape[0]} images of {x.shape[1]} pixels; {code}")
    print(f"each product from {code.n_shares - N_LOST} of {code.n_shares} shares\n")
    print("iteration  lost in X @ V  lost in X.T @ Y  amplification  worst relative error")
    v = np.linalg.qr(rng.standard_normal((x.shape[1], N_COMPONENTS))).Q
    for iteration in range(N_ITERATIONS):
        order = [rng.permutation(code.n_shares).tolist() for _ in range(2)]
        lost = [sorted(shares[:N_LOST]) for shares in order]
        survivors = [sorted(shares[N_LOST:]) for shares in order]

        y, first = rows.product(v, survivors[0])
        w, second = columns.product(y, survivors[1])
        exact = x.T @ (x @ v)
        error = np.abs(w - exact).max() / np.abs(exact).max()
        v = np.linalg.qr(w).Q

        if iteration % 10 == 0:
            amplification = max(first.amplification, second.amplification)
            print(
                f"{iteration:9d}  {lost[0]!s:>13}  {lost[1]!s:>15}"
                f"  {amplification:13.1f}  {error:20.1e}"
            )

    # The components, in order and with the signs that LAPACK happened to choose.
    _, reference_values, reference = np.linalg.svd(x, full_matrices=False)
    _, values, rotation = np.linalg.svd(x @ v, full_matrices=False)
    components = rotation @ v.T
    components *= np.sign(np.sum(components * reference[:N_COMPONENTS], axis=1, keepdims=True))

    gap = np.abs(values / reference_values[:N_COMPONENTS] - 1).max()
    share = np.sum(values**2) / np.sum(reference_values**2)
    print(f"\n{N_COMPONENTS} components hold {share:.1%} of the variance;")
    print(f"singular values differ from LAPACK's by {gap:.1e} at most")
    draw(components, reference[:N_COMPONENTS], "pca_of_digits.png")


def draw(components, reference, path):
    figure, axes = plt.subplots(2, N_COMPONENTS, figsize=(1.5 * N_COMPONENTS, 3.6))
    for row, (images, label) in enumerate(
        [(components, f"coded, {N_LOST} of 12 lost"), (reference, "LAPACK")]
    ):
        for axis, image in zip(axes[row], images, strict=True):
            axis.imshow(image.reshape(8, 8), cmap="RdBu", vmin=-0.4, vmax=0.4)
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(label)
    figure.suptitle("Principal components of handwritten digits")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
