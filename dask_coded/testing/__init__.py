"""Public test tools: emulated clusters, faults, and checks that nothing is left behind."""

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
from dask_coded.testing._nodes import WorkerProcess as WorkerProcess
from dask_coded.testing._playback import PlayedFault as PlayedFault
from dask_coded.testing._points import Point as Point
from dask_coded.testing._points import signal as signal
from dask_coded.testing._trace import FaultTrace as FaultTrace

__all__ = [
    "Bimodal",
    "ConstantDelay",
    "Delay",
    "EmulatedCluster",
    "FaultEvent",
    "FaultTrace",
    "ParetoDelay",
    "PlayedFault",
    "Point",
    "ShiftedExponential",
    "TaskFault",
    "TaskFaults",
    "WorkerProcess",
    "assert_clean",
    "flip_bit",
    "signal",
]
