"""The verb: a product that workers compute without learning its operands."""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from distributed import get_client

from dask_coded.codes import AbstractPrivateCode
from dask_coded.errors import (
    BlockShapeError,
    ParameterError,
    TrustError,
    UnsupportedOperationError,
)
from dask_coded.fields import PrimeField
from dask_coded.kernels import served_library
from dask_coded.private._choice import choose_batch_code, choose_code
from dask_coded.private._fixed_point import FractionBits, check_bits, result_dtype
from dask_coded.private._plan import PrivatePlan, reason_for, warn_of_shared_hosts
from dask_coded.private._product import Job, multiply
from dask_coded.private._trusted import multiply_on_trusted

__all__ = ["matmul", "plan_matmul"]


def matmul(
    a: Any,
    b: Any,
    colluding: int,
    *,
    code: AbstractPrivateCode | None = None,
    parity: int | None = None,
    fraction_bits: FractionBits = None,
    field: PrimeField | None = None,
    workers: Sequence[str] | None = None,
    trusted: Sequence[str] | None = None,
    verify: bool = True,
    timeout: float | None = None,
    client: Any = None,
) -> Any:
    """``a @ b``, exact to stated bits, of which any `colluding` workers together learn nothing.

    The operands are encoded together with uniform noise over a prime field, each worker
    multiplies the share that it is sent, and enough results give the product. Encoding and
    decoding run in this process, or on `trusted` workers.

    Parameters
    ----------
    a, b
        ``(r, k)`` and ``(k, c)``, or a batch ``(L, r, k)`` and ``(L, k, c)``; integers or real
        floats. NumPy arrays, or Dask arrays: these are computed in this process, by threads, or
        with `trusted` on the trusted workers.
    colluding
        Workers T that may put together all that they were given.
    code
        A private code with as many workers as are to be used. By default one share goes to every
        worker, and the cuts leave each as little to do as T and `parity` allow:
        ``plan_matmul(a, b, colluding)`` says how. :class:`~dask_coded.codes.PrivateBivariate`,
        which gives workers several sub-tasks, each of which counts, is used if asked for: it is
        worth its larger number of results where speeds differ, which nobody knows beforehand.
    parity
        Workers that may be lost, where `code` is None; 1 by default.
    fraction_bits
        Operands are rounded to multiples of ``2 ** -fraction_bits``; two numbers are for `a` and
        `b`. By default as many bits as the field has room for, given the largest entries.
        Integers are taken as they are.
    field
        ``PrimeField(2**61 - 1)`` by default. ``PrimeField(2**31 - 1)`` is several times faster,
        and tells products below ``2**30`` apart.
    workers
        Names or addresses of the workers that may be sent shares; all that are not trusted by
        default. Workers of one machine are one party: list one of each. A
        :class:`SharedHostWarning` says if one of several machines has more than `colluding`;
        where all are on one machine, it may learn everything, and there is no warning.
    trusted
        Names or addresses of workers that may know the operands and the product. They are sent no
        shares.
    verify
        Check every result against a secret random combination of its columns, and do without
        workers that return something wrong, which goes unnoticed with a chance of 1 / p.
    timeout
        Seconds to wait for results; for ever by default.
    client
        A synchronous client; the current one by default.

    Returns
    -------
    array
        ``(r, c)`` or ``(L, r, c)``: int64 if both operands are integers, else float64. With
        `trusted` and a Dask array among the operands a Dask array, being computed on the trusted
        workers and confined to them, with one chunk to a row of chunks of `a`.

    Raises
    ------
    FieldRangeError
        Before anything is sent, if the product may leave the range of the field.
    NotDecodableError
        If more workers failed than the code can do without.
    ParameterError
        If there are too few workers, the code does not fit, or `code` and `parity` are given.
    TimeoutError
        If too few results came in time.
    TrustError
        If a Dask operand is already known to workers that are not trusted, or would pass through
        the scheduler.
    UnsupportedDtypeError
        For complex numbers, objects and long doubles.
    UnsupportedOperationError
        For arrays of a device.

    Notes
    -----
    *Error.* Integers are exact. With f and g fraction bits no entry is further from the exact
    product than ``k (2**-(f+1) max|b| + 2**-(g+1) max|a| + 2**-(f+g+2))``, plus the rounding of
    one float64. The check of range sums over the rows and columns at hand.

    *What is protected* is the value of every entry of both operands against what any T workers
    are given, whatever their computing power: their shares are uniform for every operand. The
    scheduler is given no share, no result, and no task of the untrusted workers: shares travel
    over connections of their own to the workers, under no key. A share that is lost is given to
    nobody else. Noise is drawn from the system's cryptographic generator for every product.

    *What is not protected:*

    - against T + 1 workers who talk to each other, workers of one machine and its administrator
      included, and against whoever hears several connections, which are encrypted only where the
      cluster uses TLS;
    - shapes, the code and the prime, the number of products and how long they take; when a worker
      is given the difference of two products' outcomes by other ways, that;
    - against wrong results unless `verify` is on, which finds errors and liars. Workers are
      assumed curious, but to run Dask as it is: a worker that abuses Dask's protocol can run code
      in every other process of the cluster and ask others for what they hold, as Dask trusts all
      its members, and its messages are unpickled by the client;
    - with `trusted`, against the scheduler: it sees the graphs that load the operands, names,
      shapes and sizes, and what is gathered through it. Arrays inside graphs are refused where
      they can be seen. Gather the result directly: ``Client(..., direct_to_workers=True)``.

    References
    ----------
    Yu, Li, Raviv, Kalan, Soltanolkotabi and Avestimehr (2019), arXiv:1806.00939; Hasircioglu,
    Gomez-Vilardebo and Gunduz (2021), arXiv:2102.08304.

    Examples
    --------
    >>> import numpy as np
    >>> from distributed import Client
    >>> from dask_coded import private
    >>> a, b = np.arange(12).reshape(3, 4), np.eye(4)
    >>> with Client(processes=False, n_workers=4, dashboard_address=None) as client:
    ...     private.matmul(a, b, colluding=1)
    array([[ 0.,  1.,  2.,  3.],
           [ 4.,  5.,  6.,  7.],
           [ 8.,  9., 10., 11.]])
    """
    _check_on_host(a=a, b=b)
    a, b = (x if isinstance(x, da.Array) else np.asarray(x) for x in (a, b))
    dtype = result_dtype(a.dtype, b.dtype)
    check_bits(fraction_bits)
    _check_shapes(a, b)
    client = _synchronous(client)
    known = client.scheduler_info(n_workers=-1)["workers"]
    insiders = _addresses("trusted", trusted or (), known)
    on_cluster = bool(insiders) and (isinstance(a, da.Array) or isinstance(b, da.Array))
    if on_cluster and a.ndim == 3:
        raise UnsupportedOperationError(
            "batches on trusted workers are not supported; give NumPy arrays, or matrices"
        )
    plan = _planned(a, b, colluding, code, parity, field, workers, insiders, known)
    warn_of_shared_hosts(plan.addresses, known, plan.code.colluding)
    job = Job(plan.code, plan.addresses, fraction_bits, bool(verify), timeout)
    if on_cluster:
        return multiply_on_trusted(a, b, job, insiders, client, dtype)
    a, b = (_computed(x, client) for x in (a, b))
    return multiply(a, b, job, client.sync, client.connection_args)


def plan_matmul(
    a: Any,
    b: Any,
    colluding: int,
    *,
    code: AbstractPrivateCode | None = None,
    parity: int | None = None,
    field: PrimeField | None = None,
    workers: Sequence[str] | None = None,
    trusted: Sequence[str] | None = None,
    client: Any = None,
) -> PrivatePlan:
    """Decide how :func:`matmul` would compute a product; parameters and errors as there.

    Nothing is sent, and the values of the operands are not looked at.

    Examples
    --------
    >>> import numpy as np
    >>> from distributed import Client
    >>> from dask_coded import private
    >>> a, b = np.arange(12).reshape(3, 4), np.eye(4)
    >>> with Client(processes=False, n_workers=4, dashboard_address=None) as client:
    ...     plan = private.plan_matmul(a, b, colluding=1)
    >>> plan.code.recovery_threshold, len(plan.addresses)
    (3, 4)
    """
    _check_on_host(a=a, b=b)
    a, b = (x if isinstance(x, da.Array) else np.asarray(x) for x in (a, b))
    result_dtype(a.dtype, b.dtype)
    _check_shapes(a, b)
    known = _synchronous(client).scheduler_info(n_workers=-1)["workers"]
    insiders = _addresses("trusted", trusted or (), known)
    return _planned(a, b, colluding, code, parity, field, workers, insiders, known)


def _planned(
    a: Any,
    b: Any,
    colluding: int,
    code: AbstractPrivateCode | None,
    parity: int | None,
    field: PrimeField | None,
    workers: Sequence[str] | None,
    insiders: Sequence[str],
    known: Any,
) -> PrivatePlan:
    if code is not None and parity is not None:
        raise ParameterError(
            f"both code={code!r} and parity={parity} were given; a code fixes its parity, give one"
        )
    chosen = list(known) if workers is None else _addresses("workers", workers, known)
    outsiders = [address for address in chosen if address not in insiders]
    reason = "asked for"
    if code is None:
        spare = 1 if parity is None else parity
        code = _default_code(len(outsiders), colluding, spare, a, b, field)
        reason = reason_for(code, spare)
    _check_code(code, colluding, field, a, b, len(outsiders))
    addresses = tuple(outsiders[: len(code.workers)])
    return PrivatePlan((a.shape, b.shape), code, addresses, reason)


def _check_on_host(**operands: Any) -> None:
    for name, x in operands.items():
        library = served_library(getattr(x, "_meta", x))
        if library not in (None, "numpy"):
            raise UnsupportedOperationError(
                f"a private product is computed on the host, and {name} is of {library}, which is "
                f"not copied unasked; give {name}.get(), or for a Dask array "
                f"{name}.map_blocks(lambda block: block.get())"
            )


def _check_shapes(a: Any, b: Any) -> None:
    fits = a.ndim == b.ndim and a.ndim in (2, 3) and a.shape[-1] == b.shape[-2]
    if not fits or a.shape[:-2] != b.shape[:-2]:
        raise BlockShapeError(
            f"a private product takes (r, k) and (k, c), or a batch of each; got {a.shape} and "
            f"{b.shape}. Write a vector as a matrix of one column"
        )


def _synchronous(client: Any) -> Any:
    if client is None:
        try:
            client = get_client()
        except ValueError:
            raise UnsupportedOperationError(
                "a private product needs workers to hide from; make a distributed.Client first"
            ) from None
    if client.asynchronous:
        raise UnsupportedOperationError(
            "a private product waits for its results; use a synchronous client, in a thread"
        )
    return client


def _addresses(what: str, wanted: Sequence[str], known: Any) -> list[str]:
    """Addresses of workers given by address or name."""
    by_name = {str(info["name"]): address for address, info in known.items()}
    if isinstance(wanted, str):
        wanted = [wanted]
    found = []
    for each in wanted:
        address = each if each in known else by_name.get(str(each))
        if address is None:
            raise ParameterError(
                f"{what}={list(wanted)!r}: no worker is called {each!r}; there are "
                f"{', '.join(sorted(by_name))}"
            )
        found.append(address)
    return list(dict.fromkeys(found))


def _default_code(
    n_workers: int, colluding: int, parity: int, a: Any, b: Any, field: PrimeField | None
) -> AbstractPrivateCode:
    for name, value, least in (("colluding", colluding, 1), ("parity", parity, 0)):
        if type(value) is not int or value < least:
            raise ParameterError(f"{name} must be an int of at least {least}, got {value!r}")
    modulo = PrimeField(2**61 - 1) if field is None else field
    if a.ndim == 3:
        return choose_batch_code(n_workers, colluding, parity, max(len(a), 1), modulo)
    return choose_code(n_workers, colluding, parity, (*a.shape, b.shape[1]), modulo)


def _check_code(
    code: Any, colluding: int, field: PrimeField | None, a: Any, b: Any, n_workers: int
) -> None:
    if not isinstance(code, AbstractPrivateCode):
        raise ParameterError(
            f"{code!r} hides nothing; use PrivateEntangled, PrivateBivariate or PrivateLagrange"
        )
    if type(colluding) is not int or colluding < 1:
        raise ParameterError(
            f"colluding must be an int of at least 1, got {colluding!r}; where nobody has to be "
            "hidden from, use coded_matmul"
        )
    if colluding > code.colluding:
        raise ParameterError(
            f"colluding={colluding!r} was asked for, {code!r} hides from {code.colluding}; "
            "make a code with that many"
        )
    if field is not None and field != code.field:
        raise ParameterError(f"field={field!r} was asked for, {code!r} has another; give one")
    if len(code.workers) > n_workers:
        raise ParameterError(
            f"{code!r} needs {len(code.workers)} untrusted workers, there are {n_workers}, and two "
            "workers' shares on one would tell it more. Add workers, or take a smaller code"
        )
    batch = code.operation == "polynomial"
    fits = a.ndim == 3 if batch else a.ndim == 2
    if not fits or (batch and (code.operand_grids[0][0] != len(a) or code.degree != 2)):
        raise ParameterError(
            f"{code!r} does not fit operands of {a.ndim} dimensions and shape {a.shape}; a batch "
            "of L products needs PrivateLagrange(n, k=L, degree=2, ...), matrices another code"
        )


def _computed(x: Any, client: Any) -> Any:
    """An operand in this process."""
    if isinstance(x, np.ndarray):
        return x
    if client.futures_of(x):
        raise TrustError(
            "an operand is already held by workers, which have seen it; give trusted=[...], or an "
            "array that has not been persisted"
        )
    return x.compute(scheduler="threads")
