"""Figures beside their goals, and all of a benchmark's numbers as JSON."""

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np

__all__ = ["Goals", "machine", "options", "quantiles"]


def options(description: str) -> argparse.ArgumentParser:
    """A parser of what all of these scripts take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--json", type=Path, default=None, help="also write every number here")
    return parser


def machine() -> str:
    """What ran it, and how busy that was."""
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}, dask {dask.__version__}, distributed "
        f"{distributed.__version__}, NumPy {np.__version__}"
    )


def quantiles(values: Any) -> str:
    """p50, p95, p99 and the largest, in four columns of 8."""
    if not len(values):
        return " ".join(f"{'-':>8}" for _ in range(4))
    return " ".join(f"{q:8.3f}" for q in [*np.quantile(values, [0.5, 0.95, 0.99]), np.max(values)])


class Goals:
    """What was to be reached, what was, and the raw numbers behind it."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, float, str, bool]] = []
        self.raw: dict[str, Any] = {"machine": machine()}

    def at_most(self, name: str, value: float, goal: float, unit: str = "") -> None:
        """`value` should not exceed `goal`."""
        self._rows.append((name, value, f"<= {goal:.4g}{unit}", bool(value <= goal)))

    def at_least(self, name: str, value: float, goal: float, unit: str = "") -> None:
        """`value` should reach `goal`."""
        self._rows.append((name, value, f">= {goal:.4g}{unit}", bool(value >= goal)))

    def note(self, table: str, **numbers: Any) -> None:
        """One more row of a table without goals."""
        self.raw.setdefault(table, []).append(numbers)

    def print(self) -> None:
        """The table."""
        width = max((len(row[0]) for row in self._rows), default=0)
        print(f"\n{'figure':{width}} {'measured':>10}   {'goal':14}")
        for name, value, goal, reached in self._rows:
            print(f"{name:{width}} {value:10.4g}   {goal:14} {'reached' if reached else 'MISSED'}")

    def write(self, path: Path | None) -> None:
        """Everything as JSON, if a path was asked for."""
        if path is not None:
            names = ("figure", "measured", "goal", "reached")
            goals = [dict(zip(names, row, strict=True)) for row in self._rows]
            path.write_text(json.dumps({**self.raw, "goals": goals}, indent=1, default=_plain))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
