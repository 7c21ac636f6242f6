"""Exact products on workers that must not learn the data."""

from dask_coded.private._matmul import matmul as matmul

__all__ = ["matmul"]
