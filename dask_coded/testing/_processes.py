"""Questions to the operating system about processes; the only importer of psutil here."""

import contextlib
import time
from collections.abc import Iterable

import psutil  # type: ignore[import-untyped]

from dask_coded.errors import EmulationError

__all__ = ["cpu_seconds", "descendants", "wait_until_gone", "wait_until_stopped"]


def descendants(pid: int) -> list[int]:
    """`pid` and everything that descends from it and is alive, parents first."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    return []


def cpu_seconds(pid: int) -> float:
    """Processor time of `pid` and its descendants so far, user and system, s."""
    total = 0.0
    for process in descendants(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(process).cpu_times()
            total += times.user + times.system
    return total


def wait_until_stopped(pid: int, timeout: float = 5.0) -> None:
    """Return when the kernel has really stopped `pid`, or it is gone.

    Raises
    ------
    EmulationError
        If it still runs after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            if time.monotonic() > deadline:
                raise EmulationError(
                    f"process {pid} was sent SIGSTOP {timeout:g} s ago and is still "
                    f"{process.status()!r}; is it in an uninterruptible system call?"
                )
            time.sleep(0.001)


def wait_until_gone(pids: Iterable[int], timeout: float = 5.0) -> None:
    """Return when none of the processes is left, not even as a zombie.

    Raises
    ------
    EmulationError
        If one still is after `timeout` seconds.
    """
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    _, alive = psutil.wait_procs(processes, timeout)
    if alive:
        raise EmulationError(f"{alive} were killed {timeout:g} s ago and are still there")
