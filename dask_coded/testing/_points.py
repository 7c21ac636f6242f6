"""Named points in time that every process of an emulated cluster can announce.

A fault that must strike "while the third product runs" waits for a point, not for a clock. The
points of one cluster go through a named pipe in its folder: a line is written whole or not at all,
the reader needs no polling, and a process that is stopped in the middle holds nobody up.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dask_coded.errors import ParameterError

__all__ = ["FOLDER_VARIABLE", "PIPE", "WORKER_VARIABLE", "Point", "PointBoard", "send", "signal"]

#: Set in every process of an emulated cluster: the folder that holds its pipe and its fault files.
FOLDER_VARIABLE = "DASK_CODED_EMULATED"
#: Set in worker processes: their name in the cluster.
WORKER_VARIABLE = "DASK_CODED_EMULATED_WORKER"
PIPE = "points"
#: POSIX promises that a write up to this length is not torn apart by another writer.
LONGEST_LINE = 512


@dataclass(frozen=True)
class Point:
    """One announcement.

    Parameters
    ----------
    name : str
        What was reached, for example ``"product-started"``.
    worker : str or None
        Name of the worker that reached it; None elsewhere.
    at : float
        ``time.monotonic()`` of the machine when it was noticed, in seconds.
    data : mapping
        What else was said; plain JSON values.
    """

    name: str
    worker: str | None
    at: float
    data: Mapping[str, Any] = field(default_factory=dict)

    def matches(self, wanted: str) -> bool:
        """Whether `wanted`, a ``"name"`` or ``"name@worker"``, means this point."""
        return wanted in (self.name, f"{self.name}@{self.worker}")


def encode_point(name: str, worker: str | None, data: Mapping[str, Any]) -> bytes:
    """One line for the pipe."""
    line = json.dumps([name, worker, dict(data)]).encode() + b"\n"
    if len(line) > LONGEST_LINE:
        raise ParameterError(
            f"a point takes {len(line)} bytes, more than {LONGEST_LINE} that arrive in one piece; "
            "shorten its name or its data"
        )
    return line


def signal(name: str, **data: Any) -> bool:
    """Announce from any process of an emulated cluster that `name` was reached.

    Parameters
    ----------
    name : str
        The point, as the events of a :class:`FaultTrace` name it.
    **data
        Plain JSON values to go with it.

    Returns
    -------
    bool
        Whether somebody listens: False outside of an emulated cluster, so that instrumented code
        also runs elsewhere. The client's own process calls ``cluster.signal`` instead.

    Raises
    ------
    ParameterError
        If name and data are too long for one line of the pipe.

    Examples
    --------
    >>> signal("product-started", index=3)  # no cluster here
    False
    """
    return send(name, os.environ.get(WORKER_VARIABLE), data)


def send(name: str, worker: str | None, data: Mapping[str, Any]) -> bool:
    """Like :func:`signal`, on behalf of `worker`."""
    line = encode_point(name, worker, data)
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return False
    try:
        # Without O_NONBLOCK, opening waits for a reader, which may have gone with its process.
        pipe = os.open(os.path.join(folder, PIPE), os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        os.set_blocking(pipe, True)
        os.write(pipe, line)
    except BrokenPipeError:
        return False
    finally:
        os.close(pipe)
    return True


class PointBoard:
    """Everything announced so far, in the process that owns the cluster.

    Parameters
    ----------
    folder : path
        The cluster's folder; the pipe is made there.
    observer : callable
        Called with each point, on the reading thread, before anybody who waits sees it.
    """

    def __init__(self, folder: Path, observer: Callable[[Point], None]) -> None:
        self._observer = observer
        self._points: list[Point] = []
        self._changed = threading.Condition()
        os.mkfifo(folder / PIPE)
        # Open for reading and writing: the pipe then never reports its end when a writer leaves.
        self._pipe = os.open(folder / PIPE, os.O_RDWR)
        self._thread = threading.Thread(target=self._read, name="emulated-points", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with os.fdopen(os.dup(self._pipe), "rb") as lines:
            for line in lines:
                name, worker, data = json.loads(line)
                if name is None:
                    return
                self.announce(name, worker, data)

    def announce(self, name: str, worker: str | None = None, data: Any = None) -> None:
        """Record a point of this process, without the pipe."""
        point = Point(name, worker, time.monotonic(), data or {})
        self._observer(point)
        with self._changed:
            self._points.append(point)
            self._changed.notify_all()

    def position(self) -> int:
        """How many points there are; pass it as `start` to look only at later ones."""
        with self._changed:
            return len(self._points)

    def find(self, name: str, occurrence: int = 1, *, start: int = 0) -> Point | None:
        """The n-th point of that name since `start`, if it was reached."""
        with self._changed:
            return self._find(name, occurrence, start)

    def _find(self, name: str, occurrence: int, start: int) -> Point | None:
        for point in self._points[start:]:
            occurrence -= point.matches(name)
            if occurrence == 0:
                return point
        return None

    def wait(
        self, name: str, occurrence: int = 1, *, start: int = 0, timeout: float | None = None
    ) -> Point | None:
        """Like :meth:`find`, after waiting up to `timeout` seconds for it."""
        found: Point | None = None

        def reached() -> bool:
            nonlocal found
            found = self._find(name, occurrence, start)
            return found is not None

        with self._changed:
            self._changed.wait_for(reached, timeout)
        return found

    def wait_for_change(self, seen: int, timeout: float | None) -> None:
        """Wait until there are more than `seen` points, somebody calls :meth:`wake`, or timeout."""
        with self._changed:
            if len(self._points) <= seen:
                self._changed.wait(timeout)

    def wake(self) -> None:
        """End every :meth:`wait_for_change` that is under way."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Stop reading and give the pipe back."""
        if self._thread.is_alive():
            os.write(self._pipe, b"[null, null, {}]\n")
            self._thread.join()
        os.close(self._pipe)
