"""Coded verbs on Dask arrays."""

from dask_coded.array._encode import encode as encode
from dask_coded.array._encoded import EncodedArray as EncodedArray
from dask_coded.array._matmul import MatmulPlan as MatmulPlan
from dask_coded.array._matmul import coded_matmul as coded_matmul
from dask_coded.array._matmul import plan_matmul as plan_matmul

__all__ = ["EncodedArray", "MatmulPlan", "coded_matmul", "encode", "plan_matmul"]
