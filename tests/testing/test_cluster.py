"""Emulated clusters on real processes. Points hold the tests together; nothing is timed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import psutil
import pytest
from distributed import Client, Event, get_client, wait

from dask_coded.errors import EmulationError, InjectedFaultError, ParameterError
from dask_coded.testing import (
    ConstantDelay,
    EmulatedCluster,
    FaultEvent,
    FaultTrace,
    TaskFaults,
    assert_clean,
)

pytestmark = pytest.mark.cluster
PATIENCE = 60


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[EmulatedCluster, Client]]:
    with EmulatedCluster(3, quota=1.0) as cluster, cluster.client() as client:
        yield cluster, client


@pytest.fixture
def cluster(shared: tuple[EmulatedCluster, Client]) -> Iterator[EmulatedCluster]:
    yield shared[0]
    assert_clean(shared[1])


@pytest.fixture
def client(shared: tuple[EmulatedCluster, Client], cluster: EmulatedCluster) -> Client:
    return shared[1]


def waiter(gate: str) -> Callable[[], str]:
    """A task that says when it began, then waits at a gate."""

    def task() -> str:  # local, so that it travels by value
        from dask_coded.testing import signal as announce

        announce("task-began")
        Event(gate, client=get_client()).wait()
        return "done"

    return task


def spinner(seconds: float) -> Callable[[], None]:
    """A task that wants a processor for so long by the clock."""

    def task() -> None:
        import time

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass

    return task


def leftovers(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid)]


def control_groups(cluster: EmulatedCluster) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"*/{cluster.folder.name}-*"))


def test_plain_dask_runs_on_it(cluster: EmulatedCluster, client: Client) -> None:
    x = np.random.default_rng(0).normal(size=(60, 40))
    a = da.from_array(x, chunks=(20, 20))
    np.testing.assert_allclose((a.T @ a).compute(), x.T @ x)
    pids = {name: client.submit(os.getpid, workers=[name], pure=False) for name in cluster.workers}
    assert client.gather(pids) == {name: w.pid for name, w in cluster.workers.items()}
    assert psutil.pid_exists(cluster.scheduler_pid)


def test_frozen_worker_does_nothing_until_thawed(cluster: EmulatedCluster, client: Client) -> None:
    start = cluster.points.position()
    future = client.submit(waiter("thaw-gate"), workers=["w1"])
    assert cluster.points.wait("task-began@w1", start=start, timeout=PATIENCE)
    cluster.freeze("w1")
    assert psutil.Process(cluster.workers["w1"].pid).status() == psutil.STATUS_STOPPED
    used = cluster.cpu_seconds("w1")
    Event("thaw-gate").set()
    # Work that begins after the gate opened ends elsewhere, while the frozen task does not.
    others = [client.submit(spinner(0.2), workers=[w], pure=False) for w in ("w0", "w2")]
    client.gather(others)
    assert future.status == "pending"
    assert cluster.cpu_seconds("w1") == used
    cluster.thaw("w1")
    assert future.result(timeout=PATIENCE) == "done"
    Event("thaw-gate").clear()


def test_quota_and_slow_show_in_processor_time(cluster: EmulatedCluster, client: Client) -> None:
    def as_it_should_be() -> bool:
        used = {name: cluster.cpu_seconds(name) for name in cluster.workers}
        start = time.monotonic()
        client.gather([client.submit(spinner(2.0), workers=[w], pure=False) for w in used])
        spent = {name: cluster.cpu_seconds(name) - used[name] for name in used}
        allowed = cluster.core * (time.monotonic() - start)
        return (
            max(spent.values()) < 1.5 * allowed
            and spent["w2"] < 1.5 * allowed / 8.0 + 0.05
            and spent["w2"] < min(spent["w0"], spent["w1"])
        )

    cluster.slow("w2", 8.0)
    # A busy machine may give the others less, or let who keeps the quota by signals oversleep.
    assert any(as_it_should_be() for _ in range(20))
    cluster.restore("w2")


def test_injected_faults_hit_plain_tasks(cluster: EmulatedCluster, client: Client) -> None:
    everywhere = list(cluster.workers)

    def inject(faults: TaskFaults | None) -> None:
        for name in everywhere:
            cluster.inject(name, faults)

    inject(TaskFaults(0, raise_rate=1.0, match="unlucky"))
    unlucky = client.submit(abs, -1, key="unlucky-1")
    with pytest.raises(InjectedFaultError, match="was told to fail"):
        unlucky.result(timeout=PATIENCE)
    unlucky.release()
    assert client.submit(abs, -1, key="lucky-1").result(timeout=PATIENCE) == 1

    inject(TaskFaults(0, corrupt_rate=1.0, match="unlucky"))
    wrong = client.submit(np.zeros, 8, key="unlucky-2").result(timeout=PATIENCE)
    assert np.unpackbits(wrong.view(np.uint8)).sum() == 1

    inject(None)
    assert client.submit(abs, -1, key="unlucky-3").result(timeout=PATIENCE) == 1


def test_injected_delays_and_announcements(cluster: EmulatedCluster, client: Client) -> None:
    start = cluster.points.position()
    cluster.inject("w0", TaskFaults(0, delay=ConstantDelay(3600.0), interruptible=True))
    cluster.inject("w1", TaskFaults(0, announce="task"))
    late = client.submit(abs, -1, workers=["w0"], allow_other_workers=False)
    assert client.submit(abs, -2, workers=["w1"]).result(timeout=PATIENCE) == 2
    assert cluster.points.wait("task-finished@w1", start=start, timeout=PATIENCE)
    assert cluster.points.find("task-started@w0", start=start) is None
    assert late.status == "pending"
    late.cancel()
    for name in ("w0", "w1"):
        cluster.inject(name, None)
    # The delay ended with its task: the only thread of w0 is free again.
    assert client.submit(abs, -3, workers=["w0"]).result(timeout=PATIENCE) == 3


def test_trace_is_played_on_plain_dask(cluster: EmulatedCluster, client: Client) -> None:
    trace = FaultTrace(
        (
            FaultEvent("freeze", "w1", after="product-started"),
            FaultEvent("thaw", "w1", after="product-frozen"),
        )
    )
    start = cluster.points.position()
    with trace.play(cluster) as playback:
        future = client.submit(waiter("trace-gate"), workers=["w1"])
        assert cluster.points.wait("task-began@w1", start=start, timeout=PATIENCE)
        cluster.signal("product-started")
        assert playback.wait(1, timeout=PATIENCE)
        assert psutil.Process(cluster.workers["w1"].pid).status() == psutil.STATUS_STOPPED
        Event("trace-gate").set()
        cluster.signal("product-frozen")
        assert future.result(timeout=PATIENCE) == "done"
        assert playback.wait(timeout=PATIENCE)
    assert [played.error for played in playback.record] == [None, None]


def test_assert_clean_lists_what_remains(cluster: EmulatedCluster, client: Client) -> None:
    held = client.submit(abs, -1, key="held-one")
    wait(held)

    def complaint() -> str:
        with pytest.raises(AssertionError, match=r"(?s)remain.*scheduler: held-one: mem") as caught:
            assert_clean(client, prefix="held", timeout=0.1)
        return str(caught.value)

    # A worker that does not speak just then, on a busy machine, is left out.
    while not complaint().startswith("2 keys remain"):
        pass
    assert_clean(client, prefix="other", timeout=0.1)
    held.release()  # the caught error's traceback would keep it


def test_unknown_workers_and_impossible_orders(cluster: EmulatedCluster) -> None:
    with pytest.raises(ParameterError, match="no worker is called 'w9'"):
        cluster.freeze("w9")
    with pytest.raises(ParameterError, match="cannot be slowed"):
        cluster.slow("w0", 0.0)
    with pytest.raises(EmulationError, match="started before"):
        cluster.start()


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_workers": -1},
        {"threads": 0},
        {"quota": 0.0},
        {"hosts": 0},
        {"quota_mode": "cgroup-v1"},
    ],
    ids=str,
)
def test_impossible_clusters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        EmulatedCluster(**({"n_workers": 1} | wrong))


def test_killed_replaced_and_left_frozen() -> None:
    with EmulatedCluster(3, quota=1.0, hosts=2) as cluster, cluster.client() as client:
        assert cluster.workers["w1"].address.startswith("tcp://127.0.1.2:")
        victim = cluster.workers["w1"].pid
        cluster.kill("w1")
        assert leftovers([victim]) == []
        assert list(cluster.workers) == ["w0", "w2"]
        with pytest.raises(EmulationError, match=r"'w1' is not up \(ended with code -9\)"):
            cluster.freeze("w1")
        assert cluster.replace("w1") == "w3"
        assert client.submit(abs, -1, workers=["w3"]).result(timeout=PATIENCE) == 1
        cluster.freeze("w1")  # now means its replacement
        frozen = psutil.Process(cluster.workers["w3"].pid)
        assert frozen.status() == psutil.STATUS_STOPPED
        # On a busy machine others may be silent as well.
        assert cluster.workers["w3"].address in assert_clean(client)
        pids = cluster.pids()
        assert len(pids) == 5
    assert leftovers(pids) == []
    assert not cluster.folder.exists()
    assert control_groups(cluster) == []


def test_nothing_is_left_after_an_error_which_shows_the_logs() -> None:
    pids = []

    def fail() -> None:
        with EmulatedCluster(1) as cluster:
            cluster.freeze("w0")
            pids.extend(cluster.pids())
            raise RuntimeError("the body failed")

    with pytest.raises(RuntimeError, match="the body failed") as caught:
        fail()
    assert "--- w0" in caught.value.__notes__[0]
    assert "Registered to" in caught.value.__notes__[0]
    assert leftovers(pids) == []


def test_a_cluster_that_cannot_start_says_why() -> None:
    with pytest.raises(EmulationError, match="could not start") as caught:
        EmulatedCluster(1, preload=["there_is_no_such_module"]).start()
    assert "there_is_no_such_module" in caught.value.__notes__[0]


def test_nothing_is_left_when_the_owner_is_killed() -> None:
    program = (
        "from dask_coded.testing import EmulatedCluster\n"
        "cluster = EmulatedCluster(2, quota=1.0).start()\n"
        "cluster.freeze('w0')\n"
        "print(cluster.folder, *cluster.pids(), flush=True)\n"
        "input()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        folder, *pids = owner.stdout.readline().split()
        owner.send_signal(signal.SIGKILL)
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(int(pid)))
    psutil.wait_procs(processes, timeout=PATIENCE)
    assert leftovers([int(pid) for pid in pids]) == []
    assert not Path(folder).exists()


def test_nanny_starts_a_dead_worker_anew() -> None:
    with EmulatedCluster(1, nanny=True, ttl=60.0) as cluster, cluster.client() as client:
        first = cluster.workers["w0"]
        assert first.pid != first.node_pid
        start = cluster.points.position()
        os.kill(first.pid, signal.SIGKILL)
        assert cluster.points.wait("worker-process@w0", start=start, timeout=PATIENCE)
        second = cluster.workers["w0"]
        assert second.node_pid == first.node_pid
        assert client.submit(os.getpid).result(timeout=PATIENCE) == second.pid
        pids = cluster.pids()
        cluster.kill("w0")
        assert leftovers([second.pid, second.node_pid]) == []
    assert leftovers(pids) == []


def test_configuration_reaches_the_servers() -> None:
    def configured(key: str) -> Any:
        import dask

        return dask.config.get(key), os.environ.get("DASK_CODED_TEST")

    key = "distributed.scheduler.worker-ttl"
    with (
        EmulatedCluster(
            1,
            ttl=7.0,
            config={"distributed.scheduler.validate": True},
            environment={"DASK_CODED_TEST": "yes"},
        ) as cluster,
        cluster.client() as client,
    ):
        assert client.run_on_scheduler(configured, key) == ("7.0s", "yes")
        assert client.submit(configured, key).result(timeout=PATIENCE) == ("7.0s", "yes")
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.validate)
        with pytest.raises(EmulationError, match="without a quota"):
            cluster.slow("w0", 2.0)
