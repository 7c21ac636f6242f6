"""Which server processes of a cluster there are, as their announcements tell it."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dask_coded.errors import EmulationError, ParameterError
from dask_coded.testing._commands import Command
from dask_coded.testing._launcher import Launcher
from dask_coded.testing._points import Point

__all__ = ["SCHEDULER", "NodeTable", "WorkerProcess"]

SCHEDULER = "scheduler"


@dataclass(frozen=True)
class WorkerProcess:
    """One worker that is up.

    Parameters
    ----------
    name : str
        Its name, for Dask as well.
    pid : int
        The process that runs its tasks.
    address : str
        Where it listens.
    node_pid : int
        Leader of its process group: the nanny if there is one, else `pid`.
    """

    name: str
    pid: int
    address: str
    node_pid: int


@dataclass
class Node:
    """What is known of one server process."""

    node_pid: int | None = None
    pid: int | None = None
    address: str | None = None
    ready: bool = False
    ended: str | None = None


class NodeTable:
    """Starts servers and knows their state; fed by the thread that reads the points.

    Parameters
    ----------
    adopt : callable
        Told name and process id whenever a process begins to run a worker's tasks.
    timeout : float
        How long a server may take to start or to end, s.
    """

    def __init__(self, adopt: Callable[[str, int], None], timeout: float) -> None:
        self._adopt = adopt
        self._timeout = timeout
        self._changed = threading.Condition()
        self._nodes: dict[str, Node] = {}
        self._successors: dict[str, str] = {}

    def observe(self, point: Point) -> None:
        """Take note of one announcement."""
        with self._changed:
            name = point.worker or ""
            node = self._nodes.get(name)
            if node is None:
                return
            match point.name:
                case "process-started":
                    node.node_pid = point.data["pid"]
                case "worker-process":
                    node.pid, node.address = point.data["pid"], point.data["address"]
                    self._adopt(name, point.data["pid"])
                case "process-ready":
                    node.ready = True
                    node.address = node.address or point.data["address"]
                case "process-failed":
                    node.ended = f"failed: {point.data['error']}"
                case "process-exited":
                    node.ended = node.ended or f"ended with code {point.data['code']}"
            self._changed.notify_all()

    def start(self, commands: Sequence[Command], launcher: Launcher) -> None:
        """Start servers and wait until all of them serve.

        Raises
        ------
        EmulationError
            If one does not.
        """
        nodes = {command.name: Node() for command in commands}
        with self._changed:
            self._nodes |= nodes
        for command in commands:
            launcher.start(command)
        self._wait(
            lambda: all(node.ready or node.ended for node in nodes.values()),
            f"{', '.join(nodes)} to start",
            launcher,
        )
        failed = {name: node.ended for name, node in nodes.items() if node.ended}
        if failed:
            raise EmulationError(f"could not start {failed}; the logs say why")

    def wait_until_ended(self, name: str, launcher: Launcher) -> None:
        """Return when the process of `name` has ended."""
        node = self._nodes[name]
        self._wait(lambda: node.ended is not None, f"{name} to end", launcher)

    def _wait(self, reached: Callable[[], bool], what: str, launcher: Launcher) -> None:
        deadline = time.monotonic() + self._timeout
        with self._changed:
            # In short turns, because a zygote that died announces nothing any more.
            while not self._changed.wait_for(reached, 0.5):
                if not launcher.is_alive():
                    raise EmulationError(f"waited for {what}, but the zygote has ended")
                if time.monotonic() > deadline:
                    raise EmulationError(f"waited {self._timeout:g} s for {what}, in vain")

    def scheduler(self) -> Node:
        """The scheduler."""
        return self._nodes[SCHEDULER]

    def up(self) -> dict[str, WorkerProcess]:
        """Workers that are up, by name."""
        with self._changed:
            return {
                name: WorkerProcess(name, node.pid, node.address, node.node_pid)
                for name, node in self._nodes.items()
                if name != SCHEDULER and node.ready and node.ended is None
                if node.pid and node.address and node.node_pid
            }

    def succeed(self, old: str, new: str) -> None:
        """From now on who asks for `old` means `new`."""
        with self._changed:
            self._successors[old] = new

    def latest(self, worker: str) -> str:
        """The name that `worker` means now.

        Raises
        ------
        ParameterError
            If there never was such a worker.
        """
        with self._changed:
            while worker in self._successors:
                worker = self._successors[worker]
            if worker not in self._nodes or worker == SCHEDULER:
                known = [name for name in self._nodes if name != SCHEDULER]
                raise ParameterError(f"no worker is called {worker!r}; there are {known}")
            return worker

    def worker(self, worker: str) -> WorkerProcess:
        """The process of a worker that is up.

        Raises
        ------
        ParameterError
            If there never was such a worker.
        EmulationError
            If it is not up.
        """
        name = self.latest(worker)
        process = self.up().get(name)
        if process is None:
            raise EmulationError(
                f"worker {name!r} is not up ({self._nodes[name].ended or 'starting'}); "
                f"up are {list(self.up())}"
            )
        return process
