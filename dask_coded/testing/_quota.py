"""A share of the machine's processors for each emulated worker, and no more.

Without it a slow worker's lost cycles go to the others and a benchmark measures the wrong thing.
Three ways, tried in this order:

* ``cgroup-v2`` and ``cgroup-v1``: the kernel's CPU bandwidth control, exact to a per cent.
* ``duty-cycle``: a thread stops and continues the worker by signals. Coarser, since the worker is
  stopped whether or not it used its time, and the thread itself competes for a processor.
"""

import abc
import heapq
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from dask_coded.errors import EmulationError, ParameterError
from dask_coded.testing._processes import wait_until_stopped

__all__ = ["AbstractQuota", "QuotaMode", "open_quota"]

QuotaMode: TypeAlias = Literal["cgroup-v2", "cgroup-v1", "duty-cycle", "none"]

#: Bandwidth period, s. Short, so that a throttled event loop stalls for milliseconds.
PERIOD = 0.02
#: Least quota per period that Linux accepts, s.
LEAST_QUOTA = 0.001
#: Longest period that Linux accepts, s.
LONGEST_PERIOD = 1.0
#: Duty cycle: period, and the shortest turn worth two signals, s.
DUTY_PERIOD = 0.1
LEAST_TURN = 0.004


def bandwidth(cores: float) -> tuple[int, int]:
    """Quota and period in microseconds that give `cores` processors.

    Examples
    --------
    >>> bandwidth(0.16)
    (3200, 20000)
    >>> bandwidth(0.016)  # the period grows where the quota would fall below the kernel's least
    (1000, 62500)
    """
    period = min(max(PERIOD, LEAST_QUOTA / cores), LONGEST_PERIOD)
    quota = max(cores * period, LEAST_QUOTA)
    return round(quota * 1e6), round(period * 1e6)


class AbstractQuota(abc.ABC):
    """Holds workers by name, each with the process that runs its tasks."""

    mode: QuotaMode

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._lock = threading.RLock()

    def folder(self, worker: str) -> Path | None:
        """Control group that the worker's processes have to enter by themselves, if any."""
        return None

    def adopt(self, worker: str, pid: int) -> None:
        """State (again) which process runs the tasks of `worker`."""
        with self._lock:
            self._pids[worker] = pid

    @abc.abstractmethod
    def limit(self, worker: str, cores: float) -> None:
        """From now on `worker` gets at most so many processors of this machine."""

    def freeze(self, worker: str) -> None:
        """Stop the worker's process; returns when it has stopped."""
        with self._lock:
            os.kill(self._pids[worker], signal.SIGSTOP)
        wait_until_stopped(self._pids[worker])

    def thaw(self, worker: str) -> None:
        """Let the worker's process run again."""
        with self._lock:
            os.kill(self._pids[worker], signal.SIGCONT)

    def forget(self, worker: str) -> None:
        """The worker is gone."""
        with self._lock:
            self._pids.pop(worker, None)

    def close(self) -> None:
        """Leave nothing of it on the machine. All workers are gone by now."""
        for worker in list(self._pids):
            self.forget(worker)


class NoQuota(AbstractQuota):
    """Workers share the machine as they like."""

    mode: QuotaMode = "none"

    def limit(self, worker: str, cores: float) -> None:
        raise EmulationError(
            f"worker {worker!r} cannot be limited to {cores:g} processors: the cluster was started "
            "without a quota; start it with quota=1.0"
        )


def write(file: Path, value: object) -> None:
    # A control file takes one write of the whole value.
    file.write_text(f"{value}\n", encoding="ascii")


def set_v1(folder: Path, cores: float) -> None:
    quota, period = bandwidth(cores)
    # No limit in between, so that neither order of the two is ever refused.
    write(folder / "cpu.cfs_quota_us", -1)
    write(folder / "cpu.cfs_period_us", period)
    write(folder / "cpu.cfs_quota_us", quota)


def set_v2(folder: Path, cores: float) -> None:
    write(folder / "cpu.max", "{} {}".format(*bandwidth(cores)))


def remove_group(folder: Path, timeout: float = 30.0) -> None:
    """Remove a control group whose processes are dead; the kernel may still be burying them."""
    deadline = time.monotonic() + timeout
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class CgroupQuota(AbstractQuota):
    """The kernel's bandwidth control: one group per worker below `base`."""

    def __init__(
        self, mode: QuotaMode, base: Path, prefix: str, set_cores: Callable[[Path, float], None]
    ) -> None:
        super().__init__()
        self.mode = mode
        self._base = base
        self._prefix = prefix
        self._set = set_cores
        self._folders: dict[str, Path] = {}

    def folder(self, worker: str) -> Path:
        with self._lock:
            if worker not in self._folders:
                folder = self._base / f"{self._prefix}-{worker}"
                folder.mkdir(exist_ok=True)
                self._folders[worker] = folder
            return self._folders[worker]

    def limit(self, worker: str, cores: float) -> None:
        self._set(self.folder(worker), cores)

    def forget(self, worker: str) -> None:
        with self._lock:
            super().forget(worker)
            folder = self._folders.pop(worker, None)
        if folder is not None:
            remove_group(folder)

    def close(self) -> None:
        for worker in list(self._folders):
            self.forget(worker)


@dataclass
class Turn:
    """Where one worker stands in its duty cycle."""

    run: float = DUTY_PERIOD
    rest: float = 0.0
    running: bool = True
    frozen: bool = False


class DutyCycleQuota(AbstractQuota):
    """SIGSTOP and SIGCONT in turn; a worker with n threads uses up to n processors in its turn."""

    mode: QuotaMode = "duty-cycle"

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._threads = threads
        self._turns: dict[str, Turn] = {}
        self._due: list[tuple[float, str]] = []
        self._wake = threading.Condition(self._lock)
        self._closed = False
        self._thread = threading.Thread(target=self._cycle, name="duty-cycle", daemon=True)
        self._thread.start()

    def limit(self, worker: str, cores: float) -> None:
        part = min(cores / self._threads, 1.0)
        period = max(DUTY_PERIOD, LEAST_TURN / part)
        with self._wake:
            turn = self._turns.setdefault(worker, Turn())
            turn.run, turn.rest = part * period, (1 - part) * period
            if all(name != worker for _, name in self._due):
                # Turns start one after the other, so that not all workers run at once.
                offset = len(self._due) * part * period
                heapq.heappush(self._due, (time.monotonic() + offset, worker))
            self._wake.notify()

    def freeze(self, worker: str) -> None:
        with self._lock:
            self._turns.setdefault(worker, Turn()).frozen = True
            super().freeze(worker)

    def thaw(self, worker: str) -> None:
        with self._lock:
            turn = self._turns.setdefault(worker, Turn())
            turn.frozen = False
            turn.running = True
            super().thaw(worker)

    def forget(self, worker: str) -> None:
        with self._lock:
            super().forget(worker)
            self._turns.pop(worker, None)

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()
        super().close()

    def _cycle(self) -> None:
        with self._wake:
            while not self._closed:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    _, worker = heapq.heappop(self._due)
                    turn = self._turns.get(worker)
                    if turn is not None:
                        self._switch(worker, turn)
                        after = turn.run if turn.running else turn.rest
                        heapq.heappush(self._due, (now + after, worker))
                self._wake.wait(self._due[0][0] - now if self._due else None)

    def _switch(self, worker: str, turn: Turn) -> None:
        turn.running = not turn.running or turn.rest == 0
        pid = self._pids.get(worker)
        if pid is None or turn.frozen:
            return
        try:
            os.kill(pid, signal.SIGCONT if turn.running else signal.SIGSTOP)
        except ProcessLookupError:
            self._pids.pop(worker, None)


def mounts() -> Iterator[tuple[str, Path, Path, str]]:
    """``(type, root within the hierarchy, mount point, options)`` of each control group mount."""
    table = Path("/proc/self/mountinfo")
    for line in table.read_text(encoding="utf-8").splitlines() if table.exists() else ():
        before, _, after = line.partition(" - ")
        _, _, _, root, point, *_ = before.split()
        kind, _, options = after.split(maxsplit=2)
        if kind in ("cgroup", "cgroup2"):
            yield kind, Path(root), Path(point), options


def own_groups() -> dict[str, Path]:
    """Path of this process in each hierarchy, by controller; ``""`` is version 2."""
    groups = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), Path(path)))
    return groups


def candidates(kind: str, controller: str) -> Iterator[Path]:
    """Groups below which ours might be made: our own first, then those above it."""
    for mounted, root, point, options in mounts():
        if mounted != kind or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        own = own_groups().get(controller, Path("/"))
        below = own.relative_to(root) if own.is_relative_to(root) else Path()
        yield from (point / part for part in (below, *below.parents))


def enable_v2(base: Path) -> None:
    control = base / "cgroup.subtree_control"
    if "cpu" not in control.read_text(encoding="ascii").split():
        write(control, "+cpu")


def probe(base: Path, prefix: str, set_cores: Callable[[Path, float], None]) -> None:
    """Limit a process of our own below `base`; raises OSError where that is not allowed."""
    folder = base / f"{prefix}-probe"
    folder.mkdir()
    try:
        set_cores(folder, 0.5)
        # It reads until its pipe closes, as it does when this process ends, in whatever way.
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)
        with child:
            write(folder / "cgroup.procs", child.pid)
    finally:
        remove_group(folder)


def open_cgroup(mode: QuotaMode, prefix: str) -> CgroupQuota:
    version2 = mode == "cgroup-v2"
    set_cores = set_v2 if version2 else set_v1
    bases = candidates("cgroup2", "") if version2 else candidates("cgroup", "cpu")
    refusals = []
    for base in bases:
        try:
            if version2:
                enable_v2(base)
            probe(base, prefix, set_cores)
        except OSError as error:
            refusals.append(f"{base}: {error.strerror}")
        else:
            return CgroupQuota(mode, base, prefix, set_cores)
    raise EmulationError(
        f"{mode} cannot confine workers here ({'; '.join(refusals) or 'it is not mounted'}); "
        'use quota_mode="duty-cycle", or run where control groups are writable'
    )


def open_quota(mode: QuotaMode | None, *, prefix: str, threads: int) -> AbstractQuota:
    """The best way to confine workers that this machine allows, or exactly `mode`.

    Parameters
    ----------
    mode : {"cgroup-v2", "cgroup-v1", "duty-cycle", "none"}, optional
        None tries them in this order.
    prefix : str
        Begins the names of the control groups; unique to the cluster.
    threads : int
        Task threads per worker.

    Raises
    ------
    ParameterError
        If there is no such mode.
    EmulationError
        If `mode` is one that this machine does not allow.
    """
    if mode is not None and mode not in get_args(QuotaMode):
        raise ParameterError(f"quota_mode={mode!r} is none of {get_args(QuotaMode)}")
    if mode == "none":
        return NoQuota()
    cgroups: tuple[QuotaMode, ...] = ("cgroup-v2", "cgroup-v1")
    for version in cgroups:
        if mode in (None, version):
            try:
                return open_cgroup(version, prefix)
            except EmulationError:
                if mode is not None:
                    raise
    return DutyCycleQuota(threads)
