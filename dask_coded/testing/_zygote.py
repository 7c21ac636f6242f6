"""Parent of all processes of one emulated cluster: ``python -m dask_coded.testing._zygote``.

It imports distributed once and forks a server per command, so that ten workers are up in the time
that two would take. It owns them: when the command pipe ends, because the cluster was closed or its
owner died of whatever cause, it kills every descendant, stopped or not, and removes what they left
on the machine. It has one thread, as a process that forks must.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import select
import shutil
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import NoReturn

from dask_coded.errors import EmulationError
from dask_coded.testing._commands import Command, read_command
from dask_coded.testing._points import WORKER_VARIABLE, send
from dask_coded.testing._processes import descendants
from dask_coded.testing._quota import remove_group

__all__ = ["main"]

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def control_process(option: int, value: int) -> None:
    """``prctl`` where there is one; elsewhere the end of the command pipe has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


async def serve(command: Command) -> None:
    """Run the server of `command` until it closes."""
    from distributed import Nanny, Scheduler, Worker

    servers = {"scheduler": Scheduler, "worker": Worker, "nanny": Nanny}
    async with servers[command.kind](**command.arguments) as server:
        send("process-ready", command.name, {"address": server.address})
        await server.finished()


def become(command: Command) -> NoReturn:
    """Turn this forked process into the server of `command`."""
    code = 1
    try:
        os.setsid()
        control_process(PR_SET_PDEATHSIG, signal.SIGKILL)
        log = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if command.group is not None:
            (command.group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        os.environ[WORKER_VARIABLE] = command.name
        _forget_shared_randomness()
        asyncio.run(serve(command))
        code = 0
    except BaseException as error:
        traceback.print_exc()
        send("process-failed", command.name, {"error": repr(error)[:200]})
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _forget_shared_randomness() -> None:
    # CPython reseeds its own generator after a fork; NumPy's global one would be alike in all.
    import numpy as np

    np.random.seed(int.from_bytes(os.urandom(4), "little"))


class Zygote:
    """Forks on command, reports exits, buries everybody at the end."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._groups: set[Path] = set()

    def run(self, commands: int) -> None:
        """Serve the command pipe to its end."""
        woken, waker = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([commands, woken], [], [])
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
                self._report_exits()
            if commands in ready:
                command = read_command(commands)
                if command is None:
                    return
                self._start(command, (commands, woken, waker))

    def _start(self, command: Command, inherited: tuple[int, ...]) -> None:
        if command.group is not None:
            self._groups.add(command.group)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in inherited:
                os.dup2(nothing, descriptor)
            become(command)
        self._names[pid] = command.name
        send("process-started", command.name, {"pid": pid})

    def _report_exits(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                name = self._names.pop(pid, None)
                if name is not None:
                    code = os.waitstatus_to_exitcode(status)
                    send("process-exited", name, {"pid": pid, "code": code})

    def bury(self) -> None:
        """Kill all descendants, then remove their control groups."""
        for pid in self._names:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                # A subreaper inherits orphans (what a nanny started): they die in their turn.
                for pid in descendants(os.getpid())[1:]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                os.waitpid(-1, 0)
        for group in self._groups:
            with contextlib.suppress(OSError):
                remove_group(group)


def main() -> None:
    """Serve standard input."""
    control_process(PR_SET_CHILD_SUBREAPER, 1)
    # Imported before the first fork, so that every server finds them in memory.
    import dask.array
    import distributed
    import distributed.nanny

    import dask_coded.testing._worker_hook  # noqa: F401

    assert dask.array
    assert distributed
    if threading.active_count() > 1:
        raise EmulationError(
            f"an imported package started threads ({threading.enumerate()}); a fork loses them"
        )
    # What is there now stays. A collector that went through it in every server would copy all of
    # its pages: of ten servers on two cores each would stop for most of a second.
    gc.collect()
    gc.freeze()
    # Standard input moves, so that no server ever reads a command meant for us.
    commands = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    zygote = Zygote()
    try:
        zygote.run(commands)
    finally:
        zygote.bury()
    # The owner would do so too, if it is still there. After an error it wants to read our log.
    shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
