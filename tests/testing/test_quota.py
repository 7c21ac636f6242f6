"""Quotas: the files of control groups on an imitation, signals on real processes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_coded.errors import EmulationError, ParameterError
from dask_coded.testing import _quota
from dask_coded.testing._processes import cpu_seconds
from dask_coded.testing._quota import CgroupQuota, DutyCycleQuota, bandwidth, open_quota


@pytest.mark.parametrize("cores", [4.0, 1.0, 0.16, 0.05, 0.016, 0.001])
def test_bandwidth_is_what_the_kernel_accepts(cores: float) -> None:
    quota, period = bandwidth(cores)
    assert quota / period == pytest.approx(cores, rel=1e-3)
    assert quota >= 1_000
    assert 1_000 <= period <= 1_000_000


def test_version_2_files(tmp_path: Path) -> None:
    group = CgroupQuota("cgroup-v2", tmp_path, "test", _quota.set_v2)
    group.limit("w0", 0.16)
    assert (group.folder("w0") / "cpu.max").read_text() == "3200 20000\n"


def test_version_1_files(tmp_path: Path) -> None:
    group = CgroupQuota("cgroup-v1", tmp_path, "test", _quota.set_v1)
    group.limit("w0", 0.016)
    assert (group.folder("w0") / "cpu.cfs_quota_us").read_text() == "1000\n"
    assert (group.folder("w0") / "cpu.cfs_period_us").read_text() == "62500\n"


def test_version_2_controller_is_switched_on_only_when_it_is_off(tmp_path: Path) -> None:
    control = tmp_path / "cgroup.subtree_control"
    control.write_text("cpuset memory\n")
    _quota.enable_v2(tmp_path)
    assert control.read_text() == "+cpu\n"
    control.write_text("memory cpu\n")
    _quota.enable_v2(tmp_path)
    assert control.read_text() == "memory cpu\n"


MOUNTINFO = """\
24 30 0:22 / /proc rw,nosuid - proc proc rw
31 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
36 32 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
37 32 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
"""


@pytest.mark.parametrize(
    ("kind", "controller", "expected"),
    [
        ("cgroup2", "", ["user.slice/me.scope", "user.slice", "."]),
        ("cgroup", "cpu", ["cpu,cpuacct/sub", "cpu,cpuacct"]),
    ],
)
def test_candidates_are_our_own_group_and_those_above(
    monkeypatch: pytest.MonkeyPatch, kind: str, controller: str, expected: list[str]
) -> None:
    texts = {
        "/proc/self/mountinfo": MOUNTINFO,
        "/proc/self/cgroup": "1:cpu,cpuacct:/docker/abc/sub\n0::/user.slice/me.scope\n",
    }
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: texts[str(path)])
    monkeypatch.setattr(Path, "exists", lambda path: True)
    root = Path("/sys/fs/cgroup")
    assert list(_quota.candidates(kind, controller)) == [root / part for part in expected]


def test_without_control_groups_signals_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_quota, "mounts", lambda: iter(()))
    quota = open_quota(None, prefix="test", threads=1)
    quota.close()
    assert quota.mode == "duty-cycle"
    with pytest.raises(EmulationError, match=r"cgroup-v2 cannot confine.*it is not mounted"):
        open_quota("cgroup-v2", prefix="test", threads=1)


def test_a_group_that_may_not_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_quota, "candidates", lambda kind, controller: iter([tmp_path / "gone"]))
    with pytest.raises(EmulationError, match="gone: No such file or directory"):
        open_quota("cgroup-v1", prefix="test", threads=1)


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ParameterError, match="'docker' is none of"):
        open_quota("docker", prefix="test", threads=1)  # type: ignore[arg-type]


def test_no_quota_cannot_limit() -> None:
    with pytest.raises(EmulationError, match=r"start it with quota=1\.0"):
        open_quota("none", prefix="test", threads=1).limit("w0", 0.5)


@pytest.fixture
def spinner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield process
        process.kill()


def stopped(process: Any) -> bool:
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def test_duty_cycle_leaves_the_rest_unused(spinner: Any) -> None:
    quota = DutyCycleQuota(threads=1)
    quota.adopt("w0", spinner.pid)
    quota.limit("w0", 0.2)

    def part() -> float:
        start, used = time.monotonic(), cpu_seconds(spinner.pid)
        while cpu_seconds(spinner.pid) - used < 0.2:
            time.sleep(0.01)
        return (cpu_seconds(spinner.pid) - used) / (time.monotonic() - start)

    # A busy machine gives it less, and a late signal more; without a limit it is 1.
    assert any(part() < 0.5 for _ in range(20))
    quota.close()


def test_duty_cycle_does_not_wake_the_frozen(spinner: Any) -> None:
    quota = DutyCycleQuota(threads=1)
    quota.adopt("w0", spinner.pid)
    quota.adopt("w1", spinner.pid)
    quota.limit("w0", 0.5)
    quota.freeze("w0")
    used = cpu_seconds(spinner.pid)
    assert stopped(spinner)
    quota.limit("w0", 0.9)
    assert stopped(spinner)
    assert cpu_seconds(spinner.pid) == used
    quota.thaw("w0")
    while cpu_seconds(spinner.pid) == used:
        pass
    quota.close()
