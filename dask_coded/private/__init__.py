"""Exact products on workers that must not learn the data."""

from dask_coded.private._matmul import matmul as matmul
from dask_coded.private._matmul import plan_matmul as plan_matmul
from dask_coded.private._plan import PrivatePlan as PrivatePlan

__all__ = ["PrivatePlan", "matmul", "plan_matmul"]
