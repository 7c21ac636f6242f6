"""Weighted sums of blocks, the primitive behind every encode and decode."""

from dask_coded.kernels._backends import Backend as Backend
from dask_coded.kernels._backends import register_backend as register_backend
from dask_coded.kernels._combine import combine as combine
from dask_coded.kernels._numpy import combine_numpy as _combine_numpy
from dask_coded.kernels.gpu._combine import combine_cupy as _combine_cupy

__all__ = ["Backend", "combine", "register_backend"]

register_backend("numpy", _combine_numpy)
register_backend("cupy", _combine_cupy)
