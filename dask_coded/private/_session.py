"""One product in flight: shares go out, results come in, until the code says that they suffice.

Runs on the event loop of whoever is trusted, the client or a worker, and speaks to each untrusted
worker directly. A worker that fails, leaves or returns something wrong is an erasure: its shares
are given to nobody else, who might hold others already.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from distributed.comm import connect
from distributed.core import clean_exception
from distributed.protocol import pickle, to_serialize
from distributed.utils import offload

from dask_coded.codes import AbstractPrivateCode
from dask_coded.errors import NotDecodableError
from dask_coded.fields import PrimeField
from dask_coded.private._worker import OPERATION, install, packed, unpacked

__all__ = ["Party", "collect"]

NDArray: TypeAlias = npt.NDArray[Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Party:
    """An untrusted worker and all that it is told."""

    address: str
    shares: tuple[int, ...]
    left: NDArray
    rights: Sequence[NDArray]
    checks: Sequence[NDArray] | None
    """Of each share, what its result times the secret vector must be."""


class _WrongResult(Exception):
    """A worker returned what is no product of its shares."""


async def collect(
    code: AbstractPrivateCode,
    parties: Sequence[Party],
    secret: NDArray,
    connection_args: Mapping[str, Any],
    timeout: float | None,
) -> dict[int, NDArray]:
    """Results of enough shares to decode, by share.

    Raises
    ------
    NotDecodableError
        If too many workers failed; the first failure is its cause.
    TimeoutError
        If the others did not answer in time.
    """
    field = code.field
    assert isinstance(field, PrimeField)
    results: dict[int, NDArray] = {}
    failures: dict[str, Exception] = {}
    open_shares = set(range(code.n_shares))
    settled = asyncio.Event()

    async def follow(party: Party) -> None:
        try:
            async with aclosing(_products(party, field, connection_args)) as products:
                async for share, check, product in products:
                    await offload(_verify, field, product, party, secret, check)
                    results[share] = product
                    if _decodes(code, results):
                        settled.set()
        except Exception as error:
            failures[party.address] = error
            logger.warning("private product does without %s: %s", party.address, error)
            # What it returned before counts; what it still has is lost.
            open_shares.difference_update(set(party.shares) - results.keys())
            if not _decodes(code, dict.fromkeys(open_shares)):
                settled.set()

    tasks = [asyncio.create_task(follow(party)) for party in parties]
    try:
        async with asyncio.timeout(timeout):
            await settled.wait()
    except TimeoutError:
        raise TimeoutError(
            f"after {timeout} s {_state(code, parties, results)}, or wait longer"
        ) from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not _decodes(code, results):
        reason = next(iter(failures.values()), None)
        raise NotDecodableError(_state(code, parties, results)) from reason
    return results


def _state(
    code: AbstractPrivateCode, parties: Sequence[Party], results: Mapping[int, NDArray]
) -> str:
    silent = [party.address for party in parties if not set(party.shares) & results.keys()]
    return (
        f"{len(results)} of {code.n_shares} results came, any {code.recovery_threshold} suffice; "
        f"nothing from {', '.join(silent[:5]) or 'nobody'}{' and others' * (len(silent) > 5)}. "
        "Lost shares are given to no other worker; run the product again, with more parity"
    )


def _decodes(code: AbstractPrivateCode, results: Mapping[int, Any]) -> bool:
    if not code.is_decodable(results):
        return False
    try:
        # Random points may fail a set that has the size which suffices for almost all sets.
        code.decoder(results)
    except NotDecodableError:
        return False
    return True


async def _products(
    party: Party, field: PrimeField, connection_args: Mapping[str, Any]
) -> AsyncIterator[tuple[int, NDArray | None, NDArray]]:
    """Each share of a worker with its check and its result, as they come."""
    comm = await connect(party.address, **connection_args)
    try:
        await comm.write({"op": "run", "function": pickle.dumps(install)})
        _succeeded(await comm.read())
        await comm.write(
            {
                "op": OPERATION,
                "modulus": field.p,
                "left": to_serialize(packed(party.left, field.p)),
                "rights": [to_serialize(packed(right, field.p)) for right in party.rights],
            }
        )
        for position, share in enumerate(party.shares):
            reply = _succeeded(await comm.read())
            check = party.checks[position] if party.checks is not None else None
            yield share, check, unpacked(_array(reply.get("result")))
    finally:
        # Hanging up is also how the worker learns that nobody waits any longer.
        comm.abort()


def _succeeded(reply: Any) -> dict[str, Any]:
    if not isinstance(reply, dict):
        raise _WrongResult(f"got {type(reply).__name__} for an answer")
    if reply.get("status") != "OK":
        _, error, _ = clean_exception(**reply)
        raise error if isinstance(error, Exception) else _WrongResult(f"got {reply.get('status')}")
    return reply


def _array(result: Any) -> NDArray:
    if not isinstance(result, np.ndarray) or result.dtype.kind not in "iu":
        raise _WrongResult(f"got {type(result).__name__} for a result")
    return result


def _verify(
    field: PrimeField, product: NDArray, party: Party, secret: NDArray, check: NDArray | None
) -> None:
    shape = (party.left.shape[0], party.rights[0].shape[1])
    if product.shape != shape or product.min() < 0 or product.max() >= field.p:
        raise _WrongResult(f"a result of shape {shape} in {field.name} was expected")
    if check is not None and not np.array_equal(field.matmul(product, secret), check):
        raise _WrongResult("its result is not the product of its shares")
