"""Hook of ``dask scheduler --preload``."""

from typing import TYPE_CHECKING

from dask_coded.cluster._plugin import CodedSchedulerPlugin

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = ["dask_setup"]


async def dask_setup(scheduler: "Scheduler") -> None:
    """Enable the runtime on a scheduler that starts; does nothing on a worker."""
    if not hasattr(scheduler, "register_scheduler_plugin"):
        return
    await scheduler.register_scheduler_plugin(CodedSchedulerPlugin(), idempotent=True)
