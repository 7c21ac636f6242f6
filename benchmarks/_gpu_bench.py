"""One run of benchmarks/gpu.py: its clock, its cases, and files that hold what there is so far."""

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["GIB", "Bench", "LeftOut"]

GIB = 1 << 30
#: Calls are enclosed between two events until they take so long together.
_ENCLOSED_SECONDS = 0.05
_MOST_ENCLOSED = 4096


class LeftOut(Exception):
    """A case that cannot be run here, which is no failure."""


class Bench:
    """What was measured, how large and how long, and where it is written.

    Parameters
    ----------
    cupy
        The library.
    described
        Of the device.
    quick
        Tiny arrays, few repetitions.
    minutes
        After so long the process writes what it has and ends, even if the device hangs.
    folder
        Where to write; None writes nothing.
    reached
        Figures beside their goals, from the rows so far.
    """

    def __init__(
        self,
        cupy: Any,
        described: dict[str, Any],
        quick: bool,
        minutes: float,
        folder: Path | None,
        reached: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    ) -> None:
        self.cupy, self.quick = cupy, quick
        self.rows: list[dict[str, Any]] = []
        self.failed: list[str] = []
        self.copy = 0.0
        free, total = cupy.cuda.runtime.memGetInfo()
        self.bytes = min(free // 3, 16 * GIB) if not quick else 1 << 16
        now = datetime.now(UTC)
        self._described = described | {
            "date": now.isoformat(timespec="seconds"),
            "memory_bytes": total,
            "free_bytes": free,
            "numpy": np.__version__,
            "arguments": {"quick": quick, "minutes": minutes},
        }
        name = re.sub(r"[^A-Za-z0-9]+", "-", str(described["device"])).strip("-")
        self._path = None if folder is None else folder / f"gpu-{name}-{now:%Y-%m-%d}"
        self._reached = reached
        self._lines: list[str] = []
        self._running = "nothing"
        self._broken = False
        self._lock = threading.Lock()
        # New cases leave the last a little time: who is stopped loses the case it is in.
        self._until = time.monotonic() + 54 * minutes
        self._watchdog = threading.Timer(60 * minutes, self._stop)
        self._watchdog.daemon = True
        self._watchdog.start()
        self.say(", ".join(f"{name} {value}" for name, value in self._described.items()))

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.cancel()
        self.finish()

    # --- time ---------------------------------------------------------------------------------

    def seconds(self, action: Callable[[], object]) -> float:
        """Median time of one call on the device; the first, which may compile, does not count.

        Python's part of a call is not the device's. It is hidden behind the calls before it where
        many are queued, unless it takes longer than they do; :meth:`latency` counts it.
        """
        action()
        self.cupy.cuda.runtime.deviceSynchronize()
        if self.quick:
            return min(self._enclosed(action, 1) for _ in range(2))
        n_calls = 1
        while True:
            taken = self._enclosed(action, n_calls)
            if taken >= _ENCLOSED_SECONDS or n_calls >= _MOST_ENCLOSED:
                break
            wanted = math.ceil(1.2 * n_calls * _ENCLOSED_SECONDS / max(taken, 1e-6))
            n_calls = min(_MOST_ENCLOSED, max(2 * n_calls, wanted))
        again = [self._enclosed(action, n_calls) for _ in range(4)]
        return float(np.median([taken, *again])) / n_calls

    def _enclosed(self, action: Callable[[], object], n_calls: int) -> float:
        start, stop = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        start.record()
        for _ in range(n_calls):
            action()
        stop.record()
        stop.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(start, stop)) / 1e3

    def latency(self, action: Callable[[], object]) -> float:
        """Median time of one call that is waited for, by the clock of the host."""
        taken: list[float] = []
        for _ in range(2 if self.quick else 7):
            began = time.perf_counter()
            action()
            self.cupy.cuda.runtime.deviceSynchronize()
            taken.append(time.perf_counter() - began)
        return float(np.median(taken))

    # --- cases --------------------------------------------------------------------------------

    def cases(self, what: str, actions: dict[str, Callable[[], str]]) -> None:
        """Run each and say what it returns; what fails is named and does not stop the rest."""
        self.say(f"\n{what}")
        for label, action in actions.items():
            self._running = f"{what}: {label}"
            self.say(f"  {label:44} {self._outcome(label, action)}")
            self.write()
        self._running = "nothing"

    def _outcome(self, label: str, action: Callable[[], str]) -> str:
        if time.monotonic() > self._until:
            return "left out: time is up"
        if self._broken:
            return "left out: the device does not answer any more"
        try:
            said = action()
        except LeftOut as reason:
            said = f"left out: {reason}"
        except Exception as error:  # one kernel that fails must not hide what the others do
            said = f"FAILED: {type(error).__name__}: {error}"
            self.failed.append(f"{self._running}: {type(error).__name__}: {error}")
        try:
            self.cupy.cuda.runtime.deviceSynchronize()
            self.cupy.get_default_memory_pool().free_all_blocks()
        except Exception as error:  # CUDA repeats some errors for ever
            self._broken = True
            self.failed.append(f"after {self._running}: {type(error).__name__}: {error}")
            said += f"; then FAILED: {type(error).__name__}: {error}"
        return said

    def note(self, table: str, **values: Any) -> None:
        """Keep the numbers of a case."""
        self.rows.append({"table": table, **values})

    # --- what is said and written -------------------------------------------------------------

    def say(self, line: str) -> None:
        """Print a line, and keep it for the file."""
        print(line, flush=True)
        self._lines.append(line)

    def write(self) -> None:
        """Write all numbers as JSON, and the table beside them."""
        if self._path is None:
            return
        with self._lock:
            whole = self._described | {
                "rows": list(self.rows),
                "goals": self._reached(list(self.rows)),
                "failed": list(self.failed),
            }
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for suffix, text in (
                (".json", json.dumps(whole, indent=1)),
                (".txt", "\n".join(self._lines)),
            ):
                # In one step: who is stopped while writing leaves the file before.
                fresh = self._path.with_name(self._path.name + suffix + ".new")
                fresh.write_text(text + "\n", encoding="utf-8")
                fresh.replace(self._path.with_name(self._path.name + suffix))

    def finish(self) -> None:
        """The goals and what failed, and everything on disk."""
        self.say("\ngoals")
        for goal in self._reached(list(self.rows)):
            verdict = {True: "met", False: "MISSED", None: "not measured"}[goal["met"]]
            figure = "" if goal["worst"] is None else f" (worst: {goal['worst']:.3g})"
            self.say(f"  {goal['goal']:64} {verdict}{figure}")
        for line in self.failed:
            self.say(f"  FAILED {line}")
        self.write()

    def _stop(self) -> None:
        self.failed.append(f"time was up during {self._running}")
        try:
            self.finish()
        finally:
            # A device that hangs would keep any other way of ending waiting.
            os._exit(1)
