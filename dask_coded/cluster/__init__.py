"""The runtime: groups of shares on a Dask cluster, resolved as soon as enough have arrived."""

from dask_coded.cluster._client import Report as Report
from dask_coded.cluster._client import enable as enable
from dask_coded.cluster._client import is_enabled as is_enabled
from dask_coded.cluster._client import report as report
from dask_coded.cluster._disable import disable as disable
from dask_coded.cluster._first_use import enable_soon as enable_soon
from dask_coded.cluster._plugin import CodedSchedulerPlugin as CodedSchedulerPlugin
from dask_coded.cluster._policy import Decision as Decision
from dask_coded.cluster._policy import GroupView as GroupView
from dask_coded.cluster._policy import Patience as Patience
from dask_coded.cluster._policy import Policy as Policy
from dask_coded.cluster._policy import Verdict as Verdict
from dask_coded.cluster._preload import dask_setup as dask_setup
from dask_coded.cluster._settings import Settings as Settings
from dask_coded.cluster._slices import ShareCancelled as ShareCancelled
from dask_coded.cluster._slices import sliced_adjoint as sliced_adjoint
from dask_coded.cluster._slices import sliced_matmul as sliced_matmul
from dask_coded.cluster._suspects import Suspicion as Suspicion
from dask_coded.cluster._trust import confined as confined

__all__ = [
    "CodedSchedulerPlugin",
    "Decision",
    "GroupView",
    "Patience",
    "Policy",
    "Report",
    "Settings",
    "ShareCancelled",
    "Suspicion",
    "Verdict",
    "confined",
    "dask_setup",
    "disable",
    "enable",
    "enable_soon",
    "is_enabled",
    "report",
    "sliced_adjoint",
    "sliced_matmul",
]
