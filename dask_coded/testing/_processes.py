"""Questions to the operating system about processes; the only importer of psutil here."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

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


def wait_until_stopped(pid: int, timeout: float = 30.0) -> None:
    """Return when the kernel has really stopped all threads of `pid`, or it is gone.

    Raises
    ------
    EmulationError
        If it still runs after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        while not (process.status() == psutil.STATUS_ZOMBIE or _all_stopped(process)):
            if time.monotonic() > deadline:
                raise EmulationError(
                    f"process {pid} was sent SIGSTOP {timeout:g} s ago and is still "
                    f"{process.status()!r}; is it in an uninterruptible system call?"
                )
            time.sleep(0.001)


def _all_stopped(process: psutil.Process) -> bool:
    # What is called the status of a process is that of its first thread. The others stop when
    # they are next given a processor, which they may use a little of before.
    if process.status() != psutil.STATUS_STOPPED:
        return False
    for stat in Path(f"/proc/{process.pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text(errors="replace").rpartition(")")[2].split()[0] not in "TtZX":
                return False
    return True


def wait_until_gone(pids: Iterable[int], timeout: float = 30.0) -> None:
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
