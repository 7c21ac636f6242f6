"""What runs inside each worker of an emulated cluster: says who it is, applies injected faults.

A preload of distributed (``dask_setup``). Faults of a worker lie in one small file, written whole
by the cluster; a worker looks whether it changed each time a task starts, so that faults come and
go while tasks run and no message has to pass through an event loop that may be frozen.
"""

import functools
import json
import os
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin

from dask_coded.testing._faults import TaskFaults, suffer
from dask_coded.testing._points import FOLDER_VARIABLE, WORKER_VARIABLE, signal

__all__ = ["FAULTS_FOLDER", "dask_setup"]

FAULTS_FOLDER = "faults"


async def dask_setup(worker: Worker) -> None:
    """Announce the process that runs the tasks, and install the faults."""
    name = os.environ[WORKER_VARIABLE]
    file = Path(os.environ[FOLDER_VARIABLE], FAULTS_FOLDER, name)
    await worker.plugin_add(plugin=InjectedFaults(name, file), name="dask-coded-injected-faults")
    signal("worker-process", pid=os.getpid(), address=worker.address)


class InjectedFaults(WorkerPlugin):
    """Gives each task that starts a run_spec that suffers.

    Every worker of an emulated cluster has it. A preload that wants more say in which tasks suffer
    may put a plugin of its own in its place, which passes on :meth:`transition` as it likes.

    Parameters
    ----------
    name : str
        The worker's name in the cluster.
    file : path
        Holds ``TaskFaults.to_dict()`` as JSON; absent means no faults.
    """

    def __init__(self, name: str, file: Path) -> None:
        self._name = name
        self._file = file
        self._version = (-1, -1)
        self._faults: TaskFaults | None = None

    def setup(self, worker: Worker) -> None:
        self._worker = worker

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Called by the worker's state machine, just before an executing task gets its thread."""
        if finish != "executing":
            return
        state: Any = self._worker.state.tasks[key]
        if isinstance(state.run_spec, SufferingSpec):  # it started here before, and came back
            state.run_spec = state.run_spec.spec
        faults = self._current()
        if faults is None or faults.match not in str(key):
            return
        if state.run_spec is not None and not state.run_spec.is_coro:
            spec = SufferingSpec(self._worker, key, state.run_spec, faults, self._name)
            state.run_spec = spec

    def _current(self) -> TaskFaults | None:
        try:
            stat = os.stat(self._file)
        except FileNotFoundError:
            self._version, self._faults = (-1, -1), None
            return None
        # Two files may be written within one tick of the clock that stamps them.
        version = stat.st_mtime_ns, stat.st_ino
        if version != self._version:
            self._faults = TaskFaults.from_dict(json.loads(self._file.read_text(encoding="utf-8")))
            self._version = version
        return self._faults


class SufferingSpec:
    """A task's run_spec; calls it with faults, and is like it in everything else."""

    is_coro = False

    def __init__(self, worker: Worker, key: Any, spec: Any, faults: TaskFaults, name: str) -> None:
        self._worker = worker
        self._key = key
        self._faults = faults
        self._name = name
        self.spec = spec

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        work = functools.partial(self.spec, *args, **kwargs)
        return suffer(self._faults, self._name, work, self._is_wanted)

    def _is_wanted(self) -> bool:
        state = self._worker.state.tasks.get(self._key)
        return state is not None and state.state != "cancelled"

    def __getattr__(self, name: str) -> Any:
        if name == "spec":  # not yet set
            raise AttributeError(name)
        return getattr(self.spec, name)

    def __repr__(self) -> str:
        return f"<{self.spec!r} with {self._faults}>"
