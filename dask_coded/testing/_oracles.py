"""Slow, plain answers to hold codes against: Python integers, NumPy's rank, NumPy's matmul."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_coded.codes import AbstractBatchCode, AbstractCode
from dask_coded.fields import PAIRED
from dask_coded.kernels import combine

__all__ = ["determines", "end_to_end"]

_EPS = float(np.finfo(np.float64).eps)


def determines(code: AbstractCode, survivors: Sequence[int]) -> bool:
    """Whether the targets lie in the row space of the survivors' responses."""
    responses: Any = code.responses()[list(survivors)]
    targets = code.targets()
    both: Any = np.concatenate([responses, targets])
    if code.field.exact:
        modulus = int(code.field.name.partition(":")[2])
        return _rank_modulo(responses, modulus) == _rank_modulo(both, modulus)
    # Families keep their rows near unit norm, so a fixed tolerance separates rank from rounding.
    scale = np.linalg.norm(both, 2)
    return int(np.linalg.matrix_rank(responses, tol=1e-9 * scale)) == int(
        np.linalg.matrix_rank(both, tol=1e-9 * scale)
    )


def _rank_modulo(matrix: Any, modulus: int) -> int:
    """Rank over the integers modulo a prime, by elimination on Python integers."""
    rows = [[int(value) % modulus for value in row] for row in matrix]
    rank = 0
    for column in range(matrix.shape[1]):
        pivot = next((r for r in range(rank, len(rows)) if rows[r][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        inverse = pow(rows[rank][column], -1, modulus)
        for row in range(rank + 1, len(rows)):
            factor = rows[row][column] * inverse % modulus
            if factor:
                rows[row] = [
                    (value - factor * lead) % modulus
                    for value, lead in zip(rows[row], rows[rank], strict=True)
                ]
        rank += 1
    return rank


def end_to_end(code: AbstractCode, survivors: Sequence[int]) -> tuple[Any, Any, float]:
    """Outputs through the code, outputs by plain NumPy, and the error that rounding allows.

    Both have shape ``(O, rows, columns)``.
    """
    field = code.field
    stream = np.random.default_rng(len(survivors))

    def blocks(count: int, rows: int, columns: int) -> list[Any]:
        values = stream.integers(-9, 10, (count, rows, columns))
        return list(values.astype(float) if field == PAIRED else field.asarray(values))

    operands = [
        blocks(math.prod(grid), 4, 5) if operand == 0 else blocks(math.prod(grid), 5, 3)
        for operand, grid in enumerate(code.operand_grids)
    ]
    if isinstance(code, AbstractBatchCode):
        # Every term mixes the same operands.
        operands = operands[:2] * code.terms
    fixed = blocks(1, 5, 3)[0]

    def compute(*shares: Any) -> Any:
        if code.operation == "matmul":
            return field.matmul(*shares)
        if code.operation == "linear":
            return field.matmul(shares[0], fixed)
        if isinstance(code, AbstractBatchCode):
            products = map(field.matmul, shares[::2], shares[1::2])
            (total,) = combine(field.asarray(np.ones((1, code.terms))), [*products], field=field)
            return total
        power = shares[0]
        for _ in range(getattr(code, "degree", 1) - 1):
            power = field.multiply(power, shares[0])
        return power

    encoded = [
        combine(code.generator(operand), given, field=field)
        for operand, given in enumerate(operands)
    ]
    results = {share: compute(*(each[share] for each in encoded)) for share in survivors}
    decoder = code.decoder(survivors)
    read = [results[share] for share in decoder.shares]
    found = np.stack(combine(decoder.weights, read, field=field))
    expected = _plain(code, operands, compute)
    largest = max(float(np.abs(result).max()) for result in read)
    return found, expected, 64 * _EPS * max(decoder.amplification, 1.0) * largest


def _plain(code: AbstractCode, operands: list[list[Any]], compute: Any) -> Any:
    """The outputs without any code."""
    if isinstance(code, AbstractBatchCode):
        a, b = operands[:2]
        if not code.field.exact:
            return np.stack([sum(np.matmul(a[i], b[j]) for i, j in each) for each in code.sums])
        modulus = int(code.field.name.partition(":")[2])
        return np.stack(
            [
                sum(a[i].astype(object) @ b[j].astype(object) for i, j in each) % modulus
                for each in code.sums
            ]
        ).astype(np.int64)
    if code.operation != "matmul":
        mapped = [compute(block) for block in operands[0]]
        if code.operation == "linear":
            # The unknowns of a linear code are its blocks; Repair wants its shares instead.
            mapped = combine(code.targets(), mapped, field=code.field)
        return np.stack(mapped)
    (m, p), (_, n) = code.operand_grids
    a, b = operands
    if not code.field.exact:
        return np.stack(
            [
                sum(np.matmul(a[i * p + k], b[k * n + j]) for k in range(p))
                for i in range(m)
                for j in range(n)
            ]
        )
    modulus = int(code.field.name.partition(":")[2])
    wide = [[block.astype(object) for block in operand] for operand in (a, b)]
    return np.stack(
        [
            sum(wide[0][i * p + k] @ wide[1][k * n + j] for k in range(p)) % modulus
            for i in range(m)
            for j in range(n)
        ]
    ).astype(np.int64)
