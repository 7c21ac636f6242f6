"""benchmarks/gpu.py may get one run on a borrowed device: whatever goes wrong, nothing is lost."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dask_coded.kernels.gpu.emulation import host_compiler

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def bench_module() -> Any:
    spec = importlib.util.spec_from_file_location("_gpu_bench", BENCHMARKS / "_gpu_bench.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Broken:
    """A device that repeats one error for ever after a case, as CUDA does."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.__version__ = "14.0"
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(memGetInfo=lambda: (1, 2), deviceSynchronize=self.look)
        )

    def look(self) -> None:
        if self.error is not None:
            raise self.error

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_all_blocks=self.look)


def written(folder: Path) -> tuple[dict[str, Any], str]:
    (numbers,) = folder.glob("gpu-Some-device-*.json")
    return json.loads(numbers.read_text("utf-8")), numbers.with_suffix(".txt").read_text("utf-8")


@pytest.mark.skipif(host_compiler() is None, reason="no g++ with C++20 threads")
@pytest.mark.timeout(660)
def test_it_runs_without_dask_and_writes_what_it_found(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for name in ("numpy", "scipy"):
        if importlib.util.find_spec(name) is not None:
            where = Path(str(distribution(name).locate_file("")))
            for folder in (name, f"{name}.libs"):
                if (where / folder).exists():
                    (site / folder).symlink_to(where / folder)
    run = subprocess.run(
        # Without site-packages: nothing is there but what stands in `site`.
        [
            sys.executable,
            "-S",
            str(BENCHMARKS / "gpu.py"),
            "--quick",
            "--minutes",
            "30",
            "--results",
            "found",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (numbers,) = (tmp_path / "found").glob("gpu-CPU-emulation-*.json")
    found = json.loads(numbers.read_text("utf-8"))
    assert found["failed"] == []
    tables = {"copy", "combine", "decode", "product", "routes", "top_k", "candidates", "fuse"}
    assert {row["table"] for row in found["rows"]} == tables
    assert found.keys() >= {"device", "date", "memory_bytes", "goals"}
    assert "goals" in numbers.with_suffix(".txt").read_text("utf-8")


def test_an_error_that_stays_loses_nothing(tmp_path: Path) -> None:
    module, cupy = bench_module(), Broken()

    def fail() -> str:
        cupy.error = RuntimeError("an illegal memory access was encountered")
        raise cupy.error

    def left_out() -> str:
        raise module.LeftOut("needs more")

    described = {"device": "Some device"}
    with module.Bench(cupy, described, True, 5, tmp_path, lambda rows: []) as bench:
        bench.cases("first", {"good": lambda: bench.note("first", seconds=1) or "well"})
        assert written(tmp_path)[0]["rows"] == [{"table": "first", "seconds": 1}]
        bench.cases("second", {"absent": left_out, "bad": fail, "after it": lambda: "never"})
    numbers, text = written(tmp_path)
    assert numbers["rows"] == [{"table": "first", "seconds": 1}]
    assert any("second: bad" in line for line in numbers["failed"])
    assert not any("absent" in line or "after it" in line for line in numbers["failed"])
    assert "left out: needs more" in text
    assert "left out: the device does not answer any more" in text


def test_a_device_that_hangs_ends_the_run_with_what_there_is(tmp_path: Path) -> None:
    # Its time is up soon after the case begins, however long it took to come to that.
    script = f"""
import sys, threading
sys.path[:0] = [{str(BENCHMARKS)!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from _gpu_bench import Bench
from test_gpu_benchmark import Broken
class Later(threading.Timer):
    def __init__(self, seconds, stop):
        assert seconds == 300
        super().__init__(0.1, stop)
    def start(self):
        pass
def hang():
    super(Later, bench._watchdog).start()
    threading.Event().wait()
threading.Timer = Later
folder = Path({str(tmp_path)!r})
bench = Bench(Broken(), {{"device": "Some device"}}, True, 5, folder, lambda rows: [])
bench.note("before", seconds=1)
bench.cases("hangs", {{"for ever": hang}})
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 1, run.stderr
    numbers, _ = written(tmp_path)
    assert numbers["rows"] == [{"table": "before", "seconds": 1}]
    assert numbers["failed"] == ["time was up during hangs: for ever"]
