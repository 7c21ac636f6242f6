"""Coded verbs on Dask arrays."""

from dask_coded.array._batch import BatchPlan as BatchPlan
from dask_coded.array._batch import coded_matmul_batch as coded_matmul_batch
from dask_coded.array._batch import plan_matmul_batch as plan_matmul_batch
from dask_coded.array._encode import encode as encode
from dask_coded.array._encoded import EncodedArray as EncodedArray
from dask_coded.array._matmul import MatmulPlan as MatmulPlan
from dask_coded.array._matmul import coded_matmul as coded_matmul
from dask_coded.array._matmul import plan_matmul as plan_matmul
from dask_coded.array._optimize import Explanation as Explanation
from dask_coded.array._optimize import explain as explain
from dask_coded.array._optimize import optimize as optimize
from dask_coded.array._optimize import optimize_graph as optimize_graph

__all__ = [
    "BatchPlan",
    "EncodedArray",
    "Explanation",
    "MatmulPlan",
    "coded_matmul",
    "coded_matmul_batch",
    "encode",
    "explain",
    "optimize",
    "optimize_graph",
    "plan_matmul",
    "plan_matmul_batch",
]
