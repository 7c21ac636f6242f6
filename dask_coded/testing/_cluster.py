"""A Dask cluster of real processes on one machine, with faults on order.

    your process                 zygote (imports distributed once)
    EmulatedCluster --commands-->  | fork -> scheduler
      ^   |                        | fork -> worker w0   in control group w0
      |   '--signals, quotas-----> | fork -> worker w1   in control group w1
      '------points (named pipe)---'  ...

Every process descends from the zygote, which kills them all when its command pipe ends.
"""

import atexit
import contextlib
import itertools
import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, cast

import dask
from dask.system import CPU_COUNT
from distributed import Client

from dask_coded.errors import EmulationError, ParameterError, UnsupportedOperationError
from dask_coded.testing._commands import Command
from dask_coded.testing._faults import TaskFaults
from dask_coded.testing._launcher import Launcher
from dask_coded.testing._nodes import SCHEDULER, NodeTable, WorkerProcess
from dask_coded.testing._points import PointBoard
from dask_coded.testing._processes import cpu_seconds, descendants, wait_until_gone
from dask_coded.testing._quota import AbstractQuota, QuotaMode, open_quota
from dask_coded.testing._worker_hook import FAULTS_FOLDER
from dask_coded.testing._worker_hook import __name__ as WORKER_HOOK

__all__ = ["EmulatedCluster"]

#: Part of the machine that emulated nodes may use; the rest is for scheduler, client and faults.
NODES_PART = 0.8
#: How much of each log a failure shows.
LOG_LINES = 15


class EmulatedCluster:
    """Scheduler and workers as processes of this machine, each worker within its CPU quota.

    A context manager: the processes start on entering and are gone after leaving, also when workers
    are stopped by signals, when the body fails, on Ctrl-C, and when this process is killed.

    Parameters
    ----------
    n_workers : int
        Workers at the start, named ``"w0"``, ``"w1"``, ...
    threads : int
        Task threads per worker.
    quota : float, optional
        Emulated cores per worker. One emulated core is :attr:`core` processors of this machine,
        chosen so that all workers can be busy at once and 20% of the machine is left to scheduler
        and client; but not more than one processor. Without a quota workers share the machine as
        they like, and :meth:`slow` is refused.
    quota_mode : {"cgroup-v2", "cgroup-v1", "duty-cycle"}, optional
        How to enforce it; by default the first that works here.
    config : mapping, optional
        Dask configuration of scheduler and workers, on top of this process's.
    preload, worker_preload : sequence of str
        Modules that the scheduler and the workers preload, as ``dask scheduler --preload`` does.
    nanny : bool
        Run each worker under a nanny, which starts it anew when it dies.
    ttl : float, optional
        The configuration ``distributed.scheduler.worker-ttl``, s.
    hosts : int, optional
        Spread the workers over so many loopback addresses, so that Dask sees several hosts (Linux).
    memory_limit : str, int or None
        Per worker, as Dask takes it; no limit by default.
    dashboard : bool
        Serve the scheduler's dashboard.
    environment : mapping, optional
        Environment variables of all processes.
    timeout : float
        How long processes may take to start, s.

    Raises
    ------
    ParameterError
        If a number is out of range.
    UnsupportedOperationError
        On a system without POSIX signals.
    EmulationError
        If `quota_mode` is not possible here; on entering, if a process does not start.

    Examples
    --------
    >>> with EmulatedCluster(2) as cluster, cluster.client() as client:
    ...     client.submit(sum, [1, 2]).result(), list(cluster.workers)
    (3, ['w0', 'w1'])
    """

    def __init__(
        self,
        n_workers: int,
        *,
        threads: int = 1,
        quota: float | None = None,
        quota_mode: QuotaMode | None = None,
        config: Mapping[str, Any] | None = None,
        preload: Sequence[str] = (),
        worker_preload: Sequence[str] = (),
        nanny: bool = False,
        ttl: float | None = None,
        hosts: int | None = None,
        memory_limit: str | int | None = None,
        dashboard: bool = False,
        environment: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> None:
        if os.name != "posix":
            raise UnsupportedOperationError(
                f"workers cannot be forked and stopped on {os.name!r}; run this on Linux or macOS"
            )
        if n_workers < 0 or threads < 1 or (quota is not None and quota <= 0):
            raise ParameterError(
                f"{n_workers} workers of {threads} threads and quota {quota} cannot be: "
                "at least 0, at least 1 and above 0"
            )
        if hosts is not None and not 1 <= hosts <= 250:
            raise ParameterError(f"hosts={hosts} must lie within [1, 250]")
        if quota is None and quota_mode not in (None, "none"):
            raise ParameterError(f"quota_mode={quota_mode!r} needs a quota; try quota=1.0")
        self._n_workers = n_workers
        self._threads = threads
        self._quota_cores = quota
        self._wanted_mode: QuotaMode | None = "none" if quota is None else quota_mode
        self._preload = list(preload)
        self._worker_preload = list(worker_preload)
        self._nanny = nanny
        self._hosts = hosts
        self._memory_limit = memory_limit
        self._dashboard = dashboard
        self._environment = dict(environment or {})
        self._timeout = timeout
        self._config = dict(config or {})
        if ttl is not None:
            self._config["distributed.scheduler.worker-ttl"] = f"{ttl}s"
        #: Processors of this machine that one emulated core is worth.
        self.core = min(1.0, NODES_PART * CPU_COUNT / (max(n_workers, 1) * (quota or 1.0)))

        self._created = itertools.count()
        self._clients: list[Client] = []
        self._cleanup = contextlib.ExitStack()
        self._started = False
        self._closed = False

    # ------------------------------------------------------------------ life

    def __enter__(self) -> "EmulatedCluster":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            error.add_note(self._log_tails())
        self.close()

    def start(self) -> "EmulatedCluster":
        """Start all processes; without ``with``, :meth:`close` is then yours to call."""
        if self._started:
            raise EmulationError("this cluster was started before; make a new one")
        self._started = True
        try:
            self._start()
        except BaseException as error:
            error.add_note(self._log_tails())
            self.close()
            raise
        return self

    def _start(self) -> None:
        atexit.register(self.close)
        self._cleanup.callback(atexit.unregister, self.close)
        self.folder = Path(tempfile.mkdtemp(prefix="dask-coded-"))
        self._cleanup.callback(shutil.rmtree, self.folder, ignore_errors=True)
        for part in ("logs", FAULTS_FOLDER):
            (self.folder / part).mkdir()
        self._quota: AbstractQuota = open_quota(
            self._wanted_mode, prefix=self.folder.name, threads=self._threads
        )
        self._cleanup.callback(self._quota.close)
        self._nodes = NodeTable(self._quota.adopt, self._timeout)
        #: Named points reached so far, in this process or any of the cluster's.
        self.points = PointBoard(self.folder, self._nodes.observe)
        self._cleanup.callback(self.points.close)
        self._launcher = Launcher(self.folder, self._config, self._environment)
        self._cleanup.callback(self._launcher.close)

        arguments = {
            "host": "127.0.0.1",
            "port": 0,
            "dashboard": self._dashboard,
            "dashboard_address": "127.0.0.1:0",
            "preload": self._preload or None,
        }
        scheduler = Command(SCHEDULER, "scheduler", self._log(SCHEDULER), None, arguments)
        self._nodes.start([scheduler], self._launcher)
        self._add(self._n_workers)

    def close(self) -> None:
        """End every process and remove every trace of them; may be called again."""
        if self._closed:
            return
        self._closed = True
        for client in self._clients:
            if not client.asynchronous:
                with contextlib.suppress(Exception):
                    cast(Any, client).close(timeout=2)
        self._cleanup.close()

    def client(self, **kwargs: Any) -> Client:
        """A new client of this cluster, closed with it at the latest."""
        client: Client = cast(Any, Client)(self.scheduler_address, **kwargs)
        self._clients.append(client)
        return client

    # ------------------------------------------------------------------ what there is

    @property
    def quota_mode(self) -> QuotaMode:
        """How quotas are enforced; ``"none"`` without a quota."""
        return self._quota.mode

    @property
    def scheduler_address(self) -> str:
        """Where the scheduler listens."""
        address = self._nodes.scheduler().address
        assert address is not None
        return address

    @property
    def scheduler_pid(self) -> int:
        """The scheduler's process."""
        pid = self._nodes.scheduler().node_pid
        assert pid is not None
        return pid

    @property
    def workers(self) -> Mapping[str, WorkerProcess]:
        """Workers that are up, frozen ones too, by name."""
        return MappingProxyType(self._nodes.up())

    def pids(self) -> list[int]:
        """Every process of the cluster that is alive now."""
        return descendants(self._launcher.pid)

    def cpu_seconds(self, worker: str) -> float:
        """Processor time that `worker` has used since it started, s of this machine."""
        return cpu_seconds(self._nodes.worker(worker).node_pid)

    def logs(self) -> dict[str, str]:
        """What each process has printed, by name."""
        files = sorted((self.folder / "logs").iterdir()) if hasattr(self, "folder") else ()
        return {file.name: file.read_text(encoding="utf-8", errors="replace") for file in files}

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / name

    def _log_tails(self) -> str:
        parts = ["last lines of the cluster's logs:"]
        for name, text in self.logs().items():
            if text.strip():
                parts += [f"--- {name}", *text.splitlines()[-LOG_LINES:]]
        return "\n".join(parts)

    # ------------------------------------------------------------------ faults

    def freeze(self, worker: str) -> None:
        """Stop the process that runs the worker's tasks; returns when it has stopped."""
        self._signalled(self._quota.freeze, worker)

    def thaw(self, worker: str) -> None:
        """Let a frozen worker go on."""
        self._signalled(self._quota.thaw, worker)

    def kill(self, worker: str) -> None:
        """End the whole node, nanny included, without notice; returns when it is gone."""
        process = self._nodes.worker(worker)
        pids = descendants(process.node_pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.node_pid, signal.SIGKILL)
        self._nodes.wait_until_ended(process.name, self._launcher)
        wait_until_gone(pids)
        self._quota.forget(process.name)

    def add(self) -> str:
        """Start one more worker; returns its name when it has joined."""
        return self._add(1)[0]

    def replace(self, worker: str) -> str:
        """Start a new worker in the place of `worker`, which is killed if it is still there.

        Returns
        -------
        str
            The new one's name. Faults ordered for the old name meet the new one from now on.
        """
        name = self._nodes.latest(worker)
        if name in self.workers:
            self.kill(name)
        new = self.add()
        self._nodes.succeed(name, new)
        return new

    def slow(self, worker: str, factor: float) -> None:
        """Divide the worker's original quota by `factor`; does not add up.

        Raises
        ------
        ParameterError
            If the factor is not positive.
        EmulationError
            If the cluster has no quota, so that there is nothing to divide.
        """
        if factor <= 0:
            raise ParameterError(f"a worker cannot be slowed by {factor}; use a factor above 1")
        name = self._nodes.worker(worker).name
        self._quota.limit(name, (self._quota_cores or 1.0) * self.core / factor)

    def restore(self, worker: str) -> None:
        """Give a slowed worker its original quota again."""
        self.slow(worker, 1.0)

    def inject(self, worker: str, faults: TaskFaults | None) -> None:
        """Apply `faults` to the tasks that `worker` starts from now on; None ends that."""
        file = self.folder / FAULTS_FOLDER / self._nodes.worker(worker).name
        if faults is None:
            file.unlink(missing_ok=True)
            return
        draft = file.with_name(f"{file.name}.draft-{threading.get_ident()}")
        draft.write_text(json.dumps(faults.to_dict()), encoding="utf-8")
        draft.replace(file)

    def signal(self, name: str) -> None:
        """Announce from this process that the point `name` was reached."""
        self.points.announce(name)

    # ------------------------------------------------------------------ inside

    def _signalled(self, deed: Callable[[str], None], worker: str) -> None:
        name = self._nodes.worker(worker).name
        try:
            deed(name)
        except (KeyError, ProcessLookupError) as error:
            raise EmulationError(f"worker {name!r} ended before it could be signalled") from error

    def _add(self, count: int) -> list[str]:
        indices = [next(self._created) for _ in range(count)]
        commands = [self._worker_command(index) for index in indices]
        self._nodes.start(commands, self._launcher)
        names = [command.name for command in commands]
        for name in names:
            # Only now: within its quota a node would take seconds to start.
            if self._quota_cores is not None:
                self._quota.limit(name, self._quota_cores * self.core)
        return names

    def _worker_command(self, index: int) -> Command:
        name = f"w{index}"
        configured = dask.config.get("distributed.worker.preload", config=self._launcher.config)
        arguments = {
            "scheduler_ip": self.scheduler_address,
            "name": name,
            "nthreads": self._threads,
            "host": f"127.0.1.{1 + index % self._hosts}" if self._hosts else "127.0.0.1",
            "memory_limit": self._memory_limit or 0,
            "local_directory": str(self.folder / name),
            "dashboard": False,
            "preload": [WORKER_HOOK, *(self._worker_preload or configured)],
        }
        kind: Literal["nanny", "worker"] = "nanny" if self._nanny else "worker"
        return Command(name, kind, self._log(name), self._quota.folder(name), arguments)
