"""Weighted sums of blocks, the primitive behind every encode and decode; distances and top-k."""

from dask_coded.kernels._backends import Backend as Backend
from dask_coded.kernels._backends import register_backend as register_backend
from dask_coded.kernels._combine import combine as combine
from dask_coded.kernels._devices import register_synchronizer as register_synchronizer
from dask_coded.kernels._devices import served_library as served_library
from dask_coded.kernels._devices import settled as settled
from dask_coded.kernels._devices import wait_for_cupy as _wait_for_cupy
from dask_coded.kernels._neighbors import candidate_distances as candidate_distances
from dask_coded.kernels._neighbors import candidate_products as candidate_products
from dask_coded.kernels._neighbors import fuse_distances as fuse_distances
from dask_coded.kernels._neighbors import top_k as top_k
from dask_coded.kernels._numpy import combine_numpy as _combine_numpy
from dask_coded.kernels._places import where_they_lie as where_they_lie
from dask_coded.kernels._warm_up import warm_up as warm_up
from dask_coded.kernels.gpu._combine import combine_cupy as _combine_cupy
from dask_coded.kernels.gpu._memory import device_memory as device_memory

__all__ = [
    "Backend",
    "candidate_distances",
    "candidate_products",
    "combine",
    "device_memory",
    "fuse_distances",
    "register_backend",
    "register_synchronizer",
    "served_library",
    "settled",
    "top_k",
    "warm_up",
    "where_they_lie",
]

register_backend("numpy", _combine_numpy)
register_backend("cupy", _combine_cupy)
register_synchronizer("cupy", _wait_for_cupy)
