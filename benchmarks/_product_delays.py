"""Preloaded by workers of latency-bound runs: injected delays hit products, and no decoding.

A lost output is decoded under the key of the product that it replaces, so that a key alone does
not tell which of the two a task is.
"""

from typing import Any

from distributed import Worker, WorkerPlugin

from dask_coded.graph import combine_results
from dask_coded.testing import InjectedFaults

__all__ = ["dask_setup"]


class SparedDecodes(WorkerPlugin):
    """Passes on to `faults` what happens to tasks that do not decode."""

    def __init__(self, faults: InjectedFaults) -> None:
        self._faults = faults

    def setup(self, worker: Worker) -> None:
        self._worker = worker

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        if finish != "executing":
            return
        task: Any = self._worker.state.tasks[key]
        if getattr(task.run_spec, "func", None) is not combine_results:
            self._faults.transition(key, start, finish, **kwargs)


async def dask_setup(worker: Worker) -> None:
    """Stand in for the plugin that every emulated worker has."""
    for name, plugin in list(worker.plugins.items()):
        if isinstance(plugin, InjectedFaults):
            await worker.plugin_add(plugin=SparedDecodes(plugin), name=name)
