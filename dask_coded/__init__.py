"""Coded computation for Dask: a computation finishes when enough of the cluster has answered."""

from dask_coded import private as private
from dask_coded.array import EncodedArray as EncodedArray
from dask_coded.array import coded_matmul as coded_matmul
from dask_coded.array import coded_matmul_batch as coded_matmul_batch
from dask_coded.array import encode as encode
from dask_coded.array import explain as explain
from dask_coded.array import optimize as optimize
from dask_coded.array import optimize_graph as optimize_graph
from dask_coded.array import plan_matmul as plan_matmul
from dask_coded.array import plan_matmul_batch as plan_matmul_batch
from dask_coded.cluster import Report as Report
from dask_coded.cluster import disable as disable
from dask_coded.cluster import enable as enable
from dask_coded.cluster import report as report
from dask_coded.codes import LT as LT
from dask_coded.codes import MDS as MDS
from dask_coded.codes import AbstractCode as AbstractCode
from dask_coded.codes import Alloy as Alloy
from dask_coded.codes import Bivariate as Bivariate
from dask_coded.codes import CrossSubspaceAlignment as CrossSubspaceAlignment
from dask_coded.codes import Decoder as Decoder
from dask_coded.codes import Entangled as Entangled
from dask_coded.codes import FlexibleCSA as FlexibleCSA
from dask_coded.codes import GeneralizedPolyDot as GeneralizedPolyDot
from dask_coded.codes import Lagrange as Lagrange
from dask_coded.codes import MatDot as MatDot
from dask_coded.codes import Polynomial as Polynomial
from dask_coded.codes import Product as Product
from dask_coded.codes import Replication as Replication
from dask_coded.codes import TypicalThreshold as TypicalThreshold
from dask_coded.codes import Uncoded as Uncoded
from dask_coded.codes import typical_recovery_threshold as typical_recovery_threshold
from dask_coded.errors import AmplificationWarning as AmplificationWarning
from dask_coded.errors import CodedError as CodedError
from dask_coded.errors import NotDecodableError as NotDecodableError
from dask_coded.errors import WrongResultError as WrongResultError
from dask_coded.errors import WrongResultWarning as WrongResultWarning
from dask_coded.fields import COMPLEX as COMPLEX
from dask_coded.fields import PAIRED as PAIRED
from dask_coded.fields import REAL as REAL
from dask_coded.fields import PrimeField as PrimeField
from dask_coded.kernels import combine as combine

__all__ = [
    "COMPLEX",
    "LT",
    "MDS",
    "PAIRED",
    "REAL",
    "AbstractCode",
    "Alloy",
    "AmplificationWarning",
    "Bivariate",
    "CodedError",
    "CrossSubspaceAlignment",
    "Decoder",
    "EncodedArray",
    "Entangled",
    "FlexibleCSA",
    "GeneralizedPolyDot",
    "Lagrange",
    "MatDot",
    "NotDecodableError",
    "Polynomial",
    "PrimeField",
    "Product",
    "Replication",
    "Report",
    "TypicalThreshold",
    "Uncoded",
    "WrongResultError",
    "WrongResultWarning",
    "coded_matmul",
    "coded_matmul_batch",
    "combine",
    "disable",
    "enable",
    "encode",
    "explain",
    "optimize",
    "optimize_graph",
    "plan_matmul",
    "plan_matmul_batch",
    "private",
    "report",
    "typical_recovery_threshold",
]

__version__ = "0.1.0"
