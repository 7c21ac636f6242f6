"""Arrays of a device that a graph carries: nobody but who computes with them needs a device.

A scheduler unpickles graphs, and may run where there is no device. So an array goes into a graph
inside something that is unpickled as bytes, and leaves it in the task that reads it.
"""

import pickle
from typing import Any
from uuid import uuid4

from dask._task_spec import Task
from dask.typing import Key

from dask_coded.errors import DeviceError
from dask_coded.kernels import device_memory
from dask_coded.typing import AnyArray

__all__ = ["Carried", "carried", "carried_task"]


class Carried:
    """An array of a device, copied to the host once it leaves its process, and not before.

    Parameters
    ----------
    array
        The array.
    """

    __slots__ = ("_array", "_pickled", "_token")

    def __init__(self, array: AnyArray) -> None:
        self._array: AnyArray | None = array
        self._pickled: bytes | None = None
        # To hash its values would fetch them.
        self._token = uuid4().hex

    def get(self) -> AnyArray:
        """The array, on the device of this process.

        Raises
        ------
        DeviceError
            If there is none.
        DeviceMemoryError
            If it has too little memory.
        """
        if self._pickled is None:
            return self._array
        try:
            with device_memory("an operand", len(self._pickled)):
                return pickle.loads(self._pickled)
        except (ImportError, RuntimeError) as error:
            raise DeviceError(
                "an operand of a device was sent to a process that cannot hold it: "
                f"{type(error).__name__}: {error}. Where only some workers have a GPU, start these "
                'with --resources "GPU=1", and make and compute the product inside '
                'dask.annotate(resources={"GPU": 1})'
            ) from error

    def __dask_tokenize__(self) -> str:
        return self._token

    def __sizeof__(self) -> int:
        # Not the array's: a size that is asked of a scheduler must not need a device.
        return object.__sizeof__(self) + len(self._pickled or b"")

    def __reduce__(self) -> Any:
        pickled = self._pickled
        if pickled is None:
            pickled = pickle.dumps(self._array, protocol=5)
        return _arrived, (pickled, self._token)


def _arrived(pickled: bytes, token: str) -> Carried:
    made = Carried(None)
    made._pickled, made._token = pickled, token
    return made


def carried(array: AnyArray) -> Task:
    """An argument that stands for an array of a device, inside a task."""
    return Task(None, Carried.get, Carried(array))


def carried_task(key: Key, array: AnyArray) -> Task:
    """A task whose result is an array of a device."""
    return Task(key, Carried.get, Carried(array))
