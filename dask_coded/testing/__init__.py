"""Public test tools: conformance of codes, emulated clusters, faults, nothing left behind."""

from typing import TYPE_CHECKING, Any

from dask_coded.testing._clean import assert_clean as assert_clean
from dask_coded.testing._cluster import EmulatedCluster as EmulatedCluster
from dask_coded.testing._delays import Bimodal as Bimodal
from dask_coded.testing._delays import ConstantDelay as ConstantDelay
from dask_coded.testing._delays import Delay as Delay
from dask_coded.testing._delays import ParetoDelay as ParetoDelay
from dask_coded.testing._delays import ShiftedExponential as ShiftedExponential
from dask_coded.testing._events import FaultEvent as FaultEvent
from dask_coded.testing._faults import TaskFault as TaskFault
from dask_coded.testing._faults import TaskFaults as TaskFaults
from dask_coded.testing._faults import flip_bit as flip_bit
from dask_coded.testing._losses import loss_patterns as loss_patterns
from dask_coded.testing._losses import subsets as subsets
from dask_coded.testing._nodes import WorkerProcess as WorkerProcess
from dask_coded.testing._playback import PlayedFault as PlayedFault
from dask_coded.testing._points import Point as Point
from dask_coded.testing._points import signal as signal
from dask_coded.testing._table import CODES as CODES
from dask_coded.testing._trace import FaultTrace as FaultTrace
from dask_coded.testing._worker_hook import InjectedFaults as InjectedFaults

if TYPE_CHECKING:
    from dask_coded.testing._code_tests import CodeTests as CodeTests

__all__ = [
    "CODES",
    "Bimodal",
    "CodeTests",
    "ConstantDelay",
    "Delay",
    "EmulatedCluster",
    "FaultEvent",
    "FaultTrace",
    "InjectedFaults",
    "ParetoDelay",
    "PlayedFault",
    "Point",
    "ShiftedExponential",
    "TaskFault",
    "TaskFaults",
    "WorkerProcess",
    "assert_clean",
    "flip_bit",
    "loss_patterns",
    "signal",
    "subsets",
]


def __getattr__(name: str) -> Any:
    """``CodeTests`` on first use: it needs pytest, which clusters and their workers do not."""
    if name == "CodeTests":
        from dask_coded.testing._code_tests import CodeTests

        return CodeTests
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
