"""Encode, send, collect, decode: all that needs trust, in one place.

Runs where the operands may be known: in the client's process or on a trusted worker.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dask_coded.codes import AbstractPrivateCode
from dask_coded.fields import PrimeField
from dask_coded.kernels import combine
from dask_coded.private._blocks import cut, join
from dask_coded.private._fixed_point import FractionBits, scaled_operands
from dask_coded.private._noise import uniform
from dask_coded.private._session import Party, collect

__all__ = ["Job", "multiply"]

NDArray: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Job:
    """How to compute a product, and with whom; nothing of it is secret."""

    code: AbstractPrivateCode
    addresses: tuple[str, ...]
    """The untrusted worker at each place of ``code.workers``."""
    fraction_bits: FractionBits
    verify: bool
    timeout: float | None


def multiply(
    a: NDArray,
    b: NDArray,
    job: Job,
    sync: Callable[..., Any],
    connection_args: Mapping[str, Any],
) -> NDArray:
    """The product of two matrices, or of two stacks of them.

    Parameters
    ----------
    a, b
        ``(r, k)`` and ``(k, c)``, or ``(L, r, k)`` and ``(L, k, c)`` with a code of L blocks.
    job
        What to do.
    sync
        Runs a coroutine function with arguments on an event loop and returns its result.
    connection_args
        Of connections to workers, TLS included.
    """
    code = job.code
    field = code.field
    assert isinstance(field, PrimeField)
    scaled = scaled_operands(a, b, job.fraction_bits, field)
    shape = (*a.shape[:-1], b.shape[-1])
    if 0 in (*a.shape, *b.shape):
        return scaled.numbers(np.zeros(shape, np.int64))
    parties, secret = _encoded(scaled.left, scaled.right, job, field)
    results = sync(collect, code, parties, secret, connection_args, job.timeout)
    decoder = code.decoder(results)
    outputs = combine(decoder.weights, [results[i] for i in decoder.shares], field=field)
    return scaled.numbers(join(outputs, code.output_grid, shape))


def _encoded(a: NDArray, b: NDArray, job: Job, field: PrimeField) -> tuple[list[Party], NDArray]:
    code = job.code
    grids = code.operand_grids
    # A batch has one operand in the algebra, the pairs; both halves of it are encoded alike.
    operands = (0, 1) if len(grids) == 2 else (0, 0)
    first = [shares[0] for shares in code.workers]
    left = _shares(code, operands[0], cut(a, grids[operands[0]]), first, field)
    every = list(range(code.n_shares))
    right = _shares(code, operands[1], cut(b, grids[operands[1]]), every, field)
    secret = uniform(field.p, (right[0].shape[1], 1))
    parties = []
    for place, shares in enumerate(code.workers):
        rights = [right[share] for share in shares]
        checks = None
        if job.verify:
            checks = [field.matmul(left[place], field.matmul(each, secret)) for each in rights]
        parties.append(Party(job.addresses[place], shares, left[place], rights, checks))
    return parties, secret


def _shares(
    code: AbstractPrivateCode,
    operand: int,
    blocks: list[NDArray],
    shares: list[int],
    field: PrimeField,
) -> list[NDArray]:
    """These shares of an operand, made with noise that is drawn here and kept nowhere."""
    noise = code.noise(operand)[shares]
    weights = np.concatenate([code.generator(operand)[shares], noise], axis=1)
    drawn = [uniform(field.p, blocks[0].shape) for _ in range(noise.shape[1])]
    return list(combine(weights, [*blocks, *drawn], field=field))
