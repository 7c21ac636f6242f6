"""Every distinct patch of two photographs, as a matrix that each worker reads for itself."""

from dataclasses import dataclass

import dask.array as da
import numpy as np
import numpy.typing as npt

__all__ = ["DTYPE", "SIDE", "Patches", "photograph_patches"]

#: Pixels along the edge of a patch.
SIDE = 8
#: Single precision: photographs have 8 bits, and half the bytes travel.
DTYPE = np.dtype(np.float32)


@dataclass(frozen=True, eq=False)
class Patches:
    """Patches of photographs as rows, an array-like ``(n, d)`` that makes rows when asked.

    It holds the photographs, not the patches: 192 times less to send to the workers.
    """

    photographs: npt.NDArray[np.uint8]
    """``(count, height, width, 3)``."""
    positions: npt.NDArray[np.int64]
    """``(n,)``: photograph and upper left corner of each patch, as one flat index."""
    mean: npt.NDArray[np.float64]
    """``(d,)``: of the rows that :meth:`pixels` gives."""

    dtype = DTYPE
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, d)``."""
        return len(self.positions), SIDE * SIDE * 3

    def pixels(self, rows: slice) -> npt.NDArray[np.uint8]:
        """Patches as they are in the photographs, ``(rows, d)``."""
        windows = _windows(self.photographs)
        corner = np.unravel_index(self.positions[rows], windows.shape[:3])
        return windows[corner].reshape(-1, self.shape[1])

    def __getitem__(self, index: tuple[slice, slice]) -> npt.NDArray[np.float32]:
        """Centred patches with values between -1 and 1; Dask asks for whole rows."""
        rows, columns = index
        centred = (self.pixels(rows) - self.mean) / 255
        return centred.astype(DTYPE)[:, columns]

    def matrix(self, n_blocks: int) -> da.Array:
        """The matrix on a cluster, in so many blocks of rows of nearly equal height."""
        n, d = self.shape
        height, longer = divmod(n, n_blocks)
        heights = (height + 1,) * longer + (height,) * (n_blocks - longer)
        # Inline: every worker gets the photographs with its task, from nobody else.
        matrix: da.Array = da.from_array(  # type: ignore[no-untyped-call]
            self, chunks=(heights, (d,)), inline_array=True, meta=np.empty((0, 0), DTYPE)
        )
        return matrix

    def covariance(self) -> npt.NDArray[np.float64]:
        """``A.T @ A`` from integers: 531,611 x 255 x 255 is far below what float64 holds exactly.

        Returns
        -------
        ndarray (d, d)
        """
        n, d = self.shape
        products, total = np.zeros((d, d)), np.zeros(d)
        step = 2**15
        for first in range(0, n, step):
            block = self.pixels(slice(first, first + step)).astype(np.float64)
            products += block.T @ block
            total += block.sum(axis=0)
        mean = self.mean
        centred = (
            products - np.outer(total, mean) - np.outer(mean, total) + n * np.outer(mean, mean)
        )
        covariance: npt.NDArray[np.float64] = centred / 255**2
        return covariance


def _windows(photographs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Every patch at every position, without copying: ``(count, y, x, 8, 8, 3)``."""
    window = (SIDE, SIDE, 3)
    view = np.lib.stride_tricks.sliding_window_view(photographs, window, axis=(1, 2, 3))
    return view[:, :, :, 0]


def photograph_patches(every: int = 1) -> Patches:
    """The distinct 8 x 8 patches of the two photographs that come with scikit-learn.

    Parameters
    ----------
    every : int
        Take one of so many, for a smaller matrix of the same kind.
    """
    from sklearn.datasets import load_sample_images

    return distinct_patches(np.stack(load_sample_images().images), every)


def distinct_patches(photographs: npt.NDArray[np.uint8], every: int = 1) -> Patches:
    """Patches at stride 1, each only where it occurs first.

    Examples
    --------
    >>> grey = np.zeros((1, 9, 10, 3), dtype=np.uint8)
    >>> distinct_patches(grey).shape  # six positions, one patch
    (1, 192)
    """
    flat = np.ascontiguousarray(_windows(photographs)).reshape(-1, SIDE * SIDE * 3)
    # Whole rows as single values, so that a plain sort finds the equal ones.
    rows = flat.view(np.dtype((np.void, flat.shape[1]))).ravel()
    _, first = np.unique(rows, return_index=True)
    positions = np.sort(first)[::every].astype(np.int64)
    return Patches(photographs, positions, flat[positions].mean(axis=0, dtype=np.float64))
