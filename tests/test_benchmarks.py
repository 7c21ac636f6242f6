"""Benchmarks must not rot: each runs once, small, in a process of its own. Nothing is timed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.glob("[!_]*.py"))


@pytest.mark.timeout(660)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_benchmark_runs(script: Path, tmp_path: Path) -> None:
    # What takes the common options writes all its numbers where it is told to.
    writes = "options(" in script.read_text(encoding="utf-8")
    numbers = tmp_path / "numbers.json"
    run = subprocess.run(
        [sys.executable, str(script), "--quick", *(["--json", str(numbers)] if writes else [])],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.strip(), "a benchmark prints a table"
    assert not writes or len(json.loads(numbers.read_text(encoding="utf-8"))) > 1


def test_every_benchmark_is_described() -> None:
    described = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert [s.name for s in SCRIPTS if f"`{s.name}`" not in described] == []
