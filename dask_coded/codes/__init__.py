"""Code families: each says how operands become shares and what results say about outputs."""

from dask_coded.codes._algebra import Decoder as Decoder
from dask_coded.codes._alloy import Alloy as Alloy
from dask_coded.codes._batch import AbstractBatchCode as AbstractBatchCode
from dask_coded.codes._batch import Pairs as Pairs
from dask_coded.codes._bicliques import fewest as fewest_bicliques
from dask_coded.codes._bicliques import single as single_bicliques
from dask_coded.codes._bicliques import smallest as smallest_bicliques
from dask_coded.codes._bicliques import threshold as threshold_of_bicliques
from dask_coded.codes._bilinear import AbstractMatmulCode as AbstractMatmulCode
from dask_coded.codes._bivariate import Bivariate as Bivariate
from dask_coded.codes._code import AbstractCode as AbstractCode
from dask_coded.codes._cross_subspace_alignment import (
    CrossSubspaceAlignment as CrossSubspaceAlignment,
)
from dask_coded.codes._entangled import Entangled as Entangled
from dask_coded.codes._flexible_csa import FlexibleCSA as FlexibleCSA
from dask_coded.codes._generalized_csa import GeneralizedCSA as GeneralizedCSA
from dask_coded.codes._generalized_polydot import GeneralizedPolyDot as GeneralizedPolyDot
from dask_coded.codes._lagrange import Lagrange as Lagrange
from dask_coded.codes._linear import AbstractLinearCode as AbstractLinearCode
from dask_coded.codes._lt import LT as LT
from dask_coded.codes._matdot import MatDot as MatDot
from dask_coded.codes._mds import MDS as MDS
from dask_coded.codes._polynomial import Polynomial as Polynomial
from dask_coded.codes._private import AbstractPrivateCode as AbstractPrivateCode
from dask_coded.codes._private import AbstractPrivateMatmulCode as AbstractPrivateMatmulCode
from dask_coded.codes._private_bivariate import PrivateBivariate as PrivateBivariate
from dask_coded.codes._private_entangled import PrivateEntangled as PrivateEntangled
from dask_coded.codes._private_lagrange import PrivateLagrange as PrivateLagrange
from dask_coded.codes._product import Product as Product
from dask_coded.codes._registry import register as register
from dask_coded.codes._registry import registered as registered
from dask_coded.codes._repair import Repair as Repair
from dask_coded.codes._replication import Replication as Replication
from dask_coded.codes._typical import TypicalThreshold as TypicalThreshold
from dask_coded.codes._typical import (
    typical_recovery_threshold as typical_recovery_threshold,
)
from dask_coded.codes._uncoded import Uncoded as Uncoded
from dask_coded.codes._verify import is_sharp as is_sharp
from dask_coded.codes._verify import locate as locate
from dask_coded.codes._verify import protects as protects

__all__ = [
    "LT",
    "MDS",
    "AbstractBatchCode",
    "AbstractCode",
    "AbstractLinearCode",
    "AbstractMatmulCode",
    "AbstractPrivateCode",
    "AbstractPrivateMatmulCode",
    "Alloy",
    "Bivariate",
    "CrossSubspaceAlignment",
    "Decoder",
    "Entangled",
    "FlexibleCSA",
    "GeneralizedCSA",
    "GeneralizedPolyDot",
    "Lagrange",
    "MatDot",
    "Pairs",
    "Polynomial",
    "PrivateBivariate",
    "PrivateEntangled",
    "PrivateLagrange",
    "Product",
    "Repair",
    "Replication",
    "TypicalThreshold",
    "Uncoded",
    "fewest_bicliques",
    "is_sharp",
    "locate",
    "protects",
    "register",
    "registered",
    "single_bicliques",
    "smallest_bicliques",
    "threshold_of_bicliques",
    "typical_recovery_threshold",
]
