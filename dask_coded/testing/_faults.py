"""Faults of single tasks: late, failing or wrong, decided by ``(seed, worker, call index)`` alone.

:class:`TaskFaults` says what goes wrong how often. It acts in two ways: ``faults.wrap(function)``
is a function for any graph and scheduler; ``cluster.inject(worker, faults)`` makes the worker
itself apply it to whatever tasks it runs, so that a graph of plain Dask suffers the same as ours.
"""

import functools
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dask_coded.errors import InjectedFaultError, ParameterError, UnsupportedOperationError
from dask_coded.testing._delays import Delay, delay_from_dict, delay_to_dict
from dask_coded.testing._points import signal

__all__ = ["FaultyFunction", "TaskFault", "TaskFaults", "flip_bit"]

#: A delay that may be interrupted looks this often whether its task is still wanted, s.
SLICE = 0.02


@dataclass(frozen=True)
class TaskFault:
    """What happens to one call.

    Parameters
    ----------
    delay : float
        Held up for so long before its own work, s.
    raises : bool
        Fails instead of doing its work.
    corrupts : int or None
        Seed of the bit that is flipped in what it returns; None leaves it alone.
    """

    delay: float = 0.0
    raises: bool = False
    corrupts: int | None = None


@dataclass(frozen=True)
class TaskFaults:
    """What goes wrong with tasks, how often.

    Parameters
    ----------
    seed : int
        The same seed, worker and call index meet the same fault, on every machine.
    delay : Delay, optional
        Distribution of the time a call is held up before its own work.
    factor : float
        Multiplies each delay: 10 makes this worker ten times as slow as the others of its seed.
    raise_rate, corrupt_rate : float
        Probability that a call raises :class:`~dask_coded.errors.InjectedFaultError`, or returns a
        value with one bit flipped.
    match : str
        Only tasks whose key contains it suffer (and count); all by default.
    interruptible : bool
        Whether a delay ends early once nobody wants the task any more. True stands for work done
        in slices, as the coded runtime does it; False for a call that cannot be cut.
    announce : str, optional
        Signal the points ``"<announce>-started"`` and ``"<announce>-finished"`` around each
        matching call. Finished means that the function returned; the scheduler hears of it later.

    Raises
    ------
    ParameterError
        If a rate lies outside ``[0, 1]`` or the factor is negative.

    Examples
    --------
    >>> from dask_coded.testing import Bimodal
    >>> faults = TaskFaults(seed=7, delay=Bimodal(0.0, 0.2, probability=0.1), raise_rate=0.5)
    >>> [faults.decide("w3", call).raises for call in range(5)]
    [True, False, True, False, True]
    >>> TaskFaults.from_dict(faults.to_dict()) == faults
    True
    """

    seed: int
    delay: Delay | None = None
    factor: float = 1.0
    raise_rate: float = 0.0
    corrupt_rate: float = 0.0
    match: str = ""
    interruptible: bool = False
    announce: str | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.raise_rate <= 1 and 0 <= self.corrupt_rate <= 1 and self.factor >= 0):
            raise ParameterError(
                f"{self}: rates must lie within [0, 1] and the factor must not be negative"
            )

    def decide(self, worker: str, call: int) -> TaskFault:
        """The fault of the `call`-th matching call, from 0, on `worker`."""
        rng = np.random.default_rng([self.seed, zlib.crc32(worker.encode()), call])
        # Drawn in this order whatever is asked for, so that one kind does not shift the others.
        raises, corrupts, bit = rng.random(), rng.random(), int(rng.integers(2**31))
        return TaskFault(
            delay=self.factor * self.delay.sample(rng) if self.delay is not None else 0.0,
            raises=bool(raises < self.raise_rate),
            corrupts=bit if corrupts < self.corrupt_rate else None,
        )

    def wrap(self, function: Callable[..., Any]) -> "FaultyFunction":
        """`function` with these faults, wherever it is called; picklable if `function` is."""
        return FaultyFunction(function, self)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self)
        values["delay"] = None if self.delay is None else delay_to_dict(self.delay)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TaskFaults":
        """Inverse of :meth:`to_dict`."""
        faults = cls(**(dict(values) | {"delay": None}))
        if values.get("delay") is None:
            return faults
        return replace(faults, delay=delay_from_dict(values["delay"]))


class CallCounter:
    """Calls so far of each fault and worker in this process; tasks run in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[tuple[TaskFaults, str]] = Counter()

    def next(self, faults: TaskFaults, worker: str) -> int:
        """Index of the call that begins now."""
        with self._lock:
            call = self._calls[faults, worker]
            self._calls[faults, worker] += 1
            return call


_calls = CallCounter()


def suffer(
    faults: TaskFaults,
    worker: str,
    work: Callable[[], Any],
    is_wanted: Callable[[], bool] = lambda: True,
) -> Any:
    """Do `work` with the next fault of `worker`.

    Raises
    ------
    InjectedFaultError
        If that is the fault, or if an interruptible delay ended because the task is not wanted.
    """
    call = _calls.next(faults, worker)
    fault = faults.decide(worker, call)
    if faults.announce is not None:
        signal(f"{faults.announce}-started", call=call)
    _hold(fault.delay, is_wanted if faults.interruptible else None)
    if fault.raises:
        raise InjectedFaultError(
            f"call {call} on worker {worker!r} was told to fail by {faults}; "
            "this error is the test's own"
        )
    value = work()
    if fault.corrupts is not None:
        value = flip_bit(value, fault.corrupts)
    if faults.announce is not None:
        signal(f"{faults.announce}-finished", call=call)
    return value


def _hold(seconds: float, is_wanted: Callable[[], bool] | None) -> None:
    if is_wanted is None:
        time.sleep(seconds)
        return
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not is_wanted():
            raise InjectedFaultError(
                "the task was cancelled while it was held up; nobody sees this"
            )
        time.sleep(min(left, SLICE))


class FaultyFunction:
    """A function that suffers; what :meth:`TaskFaults.wrap` returns."""

    def __init__(self, function: Callable[..., Any], faults: TaskFaults) -> None:
        self.function = function
        self.faults = faults
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        work = functools.partial(self.function, *args, **kwargs)
        return suffer(self.faults, _current_worker(), work)

    def __reduce__(self) -> Any:
        return FaultyFunction, (self.function, self.faults)

    def __dask_tokenize__(self) -> Any:
        from dask.base import normalize_token

        return normalize_token((self.function, str(self.faults.to_dict())))


def _current_worker() -> str:
    from distributed import get_worker

    try:
        return str(get_worker().name)
    except ValueError:  # a scheduler of threads or processes, without workers
        return "local"


def flip_bit(value: Any, seed: int) -> Any:
    """A copy of `value` with one random bit flipped.

    Parameters
    ----------
    value : array or number, or a list, tuple or dict of such
        Of a collection, its first array or number is hit.
    seed : int
        Chooses element and bit, all equally likely. For floating point this is often a low bit of
        the mantissa, as it is in memory.

    Returns
    -------
    object
        Of the same type and shape.

    Raises
    ------
    UnsupportedOperationError
        If there is no array or number in it.

    Examples
    --------
    >>> int(flip_bit(np.int64(0), seed=1)).bit_count()
    1
    """
    if not holds_bits(value):
        raise UnsupportedOperationError(
            f"cannot flip a bit of {type(value).__name__}: it holds no array or number; "
            "use match= to spare such tasks"
        )
    if type(value) in (list, tuple):
        hit = next(index for index, item in enumerate(value) if holds_bits(item))
        return type(value)([*value[:hit], flip_bit(value[hit], seed), *value[hit + 1 :]])
    if type(value) is dict:
        hit = next(key for key, item in value.items() if holds_bits(item))
        return {**value, hit: flip_bit(value[hit], seed)}
    array = np.array(value, order="C")
    data = array.reshape(-1).view(np.uint8)
    place = int(np.random.default_rng(seed).integers(8 * data.size))
    data[place // 8] ^= np.uint8(1 << place % 8)
    if isinstance(value, np.ndarray):
        return array
    return array[()] if isinstance(value, np.generic) else array.item()


def holds_bits(value: Any) -> bool:
    """Whether :func:`flip_bit` finds something to hit."""
    if type(value) is dict:
        return any(holds_bits(item) for item in value.values())
    if type(value) in (list, tuple):
        return any(holds_bits(item) for item in value)
    if not isinstance(value, (np.ndarray, np.generic, int, float, complex)):
        return False
    array = np.asarray(value)
    return array.size > 0 and array.dtype.kind in "iufc"
