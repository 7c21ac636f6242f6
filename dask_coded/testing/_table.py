"""One small example of every built-in family, over every field that it serves."""

from dask_coded.codes import (
    LT,
    MDS,
    AbstractCode,
    Entangled,
    GeneralizedPolyDot,
    Lagrange,
    MatDot,
    Polynomial,
    Product,
    Repair,
    Replication,
    Uncoded,
)
from dask_coded.fields import COMPLEX, PAIRED, PrimeField

__all__ = ["CODES"]

_M31 = PrimeField(2**31 - 1)
_M61 = PrimeField(2**61 - 1)
_F257 = PrimeField(257)

#: Drives the conformance suite; every registered built-in family is here.
CODES: tuple[AbstractCode, ...] = (
    Uncoded(1),
    Uncoded(4),
    Uncoded(3, field=_M31),
    Replication(4, k=4),
    Replication(7, k=3),
    Replication(6, k=2, field=_F257),
    MDS(1, k=1),
    MDS(5, k=4),
    MDS(6, k=4),
    MDS(8, k=5, parity="dft"),
    MDS(9, k=4),
    MDS(7, k=4, parity="gaussian", seed=3),
    MDS(32, k=28),
    MDS(8, k=5, field=PAIRED),
    MDS(34, k=30, field=PAIRED),
    MDS(7, k=4, field=COMPLEX),
    MDS(8, k=5, field=_F257),
    MDS(9, k=6, field=_M61),
    Repair(MDS(6, k=4)),
    Repair(MDS(5, k=3, field=_F257)),
    Product(MDS(4, k=3), MDS(3, k=2)),
    Product(MDS(3, k=2, field=_M31), MDS(3, k=2, field=_M31)),
    Product(Replication(4, k=2), MDS(3, k=2)),
    Product(MDS(4, k=2, field=PAIRED), MDS(4, k=2)),
    Polynomial(9, m=2, n=3),
    Polynomial(7, m=2, n=3, seed=7),
    Polynomial(9, m=2, n=3, field=PAIRED),
    Polynomial(9, m=2, n=3, basis="points"),
    Polynomial(8, m=3, n=2, basis="points", field=COMPLEX),
    Polynomial(8, m=2, n=3, field=_M31),
    MatDot(1, p=1),
    MatDot(8, p=3),
    MatDot(10, p=4),
    MatDot(8, p=3, field=COMPLEX),
    MatDot(8, p=3, field=_F257),
    Entangled(10, m=2, p=2, n=2),
    Entangled(9, m=1, p=2, n=3),
    Entangled(12, m=3, p=1, n=3),
    Entangled(11, m=2, p=2, n=2, field=COMPLEX),
    Entangled(11, m=2, p=2, n=2, field=_M61),
    GeneralizedPolyDot(8, m=2, n=2),
    GeneralizedPolyDot(8, m=2, n=2, direction="backward"),
    GeneralizedPolyDot(11, m=2, n=3, direction="backward", field=_M31),
    Lagrange(5, k=3, degree=1),
    Lagrange(9, k=4, degree=2),
    Lagrange(9, k=3, degree=3),
    Lagrange(9, k=3, degree=2, field=COMPLEX),
    Lagrange(9, k=4, degree=2, field=_M31),
    LT(10, k=5),
    LT(12, k=4, seed=2),
    LT(12, k=5, field=_M31),
)
