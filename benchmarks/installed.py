"""What does the plugin cost a scheduler that has no coded group?

    python benchmarks/installed.py [--tasks 100000] [--rounds 10] [--quick]

100,000 tasks with the plugin and as many without, in turns on one scheduler (with, without,
without, with, ...). The figure is the ratio of the scheduler's own processor time, which other
load on the machine disturbs least; the wall times are beside it.
"""

import itertools
import time
from typing import Any

import numpy as np
import psutil
from _goals import Goals, machine, options
from dask._task_spec import Task, TaskRef
from distributed import Client, wait
from tqdm import tqdm

from dask_coded.cluster import CodedSchedulerPlugin, enable
from dask_coded.testing import EmulatedCluster

WORKERS = 2


def _next(value: int) -> int:
    return value + 1


def chains(name: str, count: int, length: int = 10) -> tuple[dict[Any, Task], list[Any]]:
    """`count` tasks in chains, and the last key of each."""
    tasks: dict[Any, Task] = {}
    for chain in range(count // length):
        tasks[name, chain, 0] = Task((name, chain, 0), _next, 0)
        for link in range(1, length):
            key = (name, chain, link)
            tasks[key] = Task(key, _next, TaskRef((name, chain, link - 1)))
    return tasks, [(name, chain, length - 1) for chain in range(count // length)]


def timed(client: Client, cluster: EmulatedCluster, name: str, count: int) -> tuple[float, float]:
    """Seconds of the scheduler's processor time, and by the clock."""
    tasks, keys = chains(name, count)
    scheduler = psutil.Process(cluster.scheduler_pid)
    before, start = scheduler.cpu_times(), time.monotonic()
    futures = client.get(tasks, keys, sync=False, optimize_graph=False)
    wait(futures)
    del futures
    while client.run_on_scheduler(_known):
        time.sleep(0.01)
    after, end = scheduler.cpu_times(), time.monotonic()
    used = after.user + after.system - before.user - before.system
    return used, end - start


async def _leave(dask_scheduler: Any) -> None:
    """Take the plugin out as if it had never been there: its handlers go with it."""
    plugin = dask_scheduler.plugins[CodedSchedulerPlugin.name]
    dask_scheduler.remove_plugin(CodedSchedulerPlugin.name)
    # The scheduler closes its plugins only when it is closed itself.
    await plugin.close()


def _known(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def measure(tasks: int, rounds: int, goals: Goals) -> None:
    each = tasks // rounds
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    # With, without, without, with: a drift of the machine meets both alike.
    turns = list(itertools.islice(itertools.cycle([True, False, False, True]), 2 * rounds))
    with EmulatedCluster(WORKERS) as cluster, cluster.client() as client:
        for number in range(2):
            timed(client, cluster, f"warm-{number}", each)
        for number, installed in enumerate(tqdm(turns, leave=False, disable=None)):
            if installed:
                enable(client)
            found[installed].append(timed(client, cluster, f"turn-{number}", each))
            if installed:
                client.run_on_scheduler(_leave)
    print(f"{rounds} rounds of {each} tasks each way, {WORKERS} workers")
    print(f"{'':20} {'scheduler us/task':>18} {'wall us/task':>14}")
    for installed, name in ((False, "without plugin"), (True, "with plugin")):
        used, wall = np.asarray(found[installed]).mean(axis=0) / each * 1e6
        print(f"{name:20} {used:18.1f} {wall:14.1f}")
    with_, without = np.asarray(found[True]), np.asarray(found[False])
    ratios = with_.sum(axis=0) / without.sum(axis=0)
    pairs = with_ / without
    spread = pairs.std(axis=0, ddof=1) / np.sqrt(rounds) if rounds > 1 else np.full(2, np.nan)
    print(f"ratio of wall times: {ratios[1]:.3f} +- {spread[1]:.3f}")
    print(f"ratio of processor times: {ratios[0]:.3f} +- {spread[0]:.3f}")
    goals.raw |= {"with": found[True], "without": found[False]}
    goals.at_most("scheduler's processor time, with / without", float(ratios[0]), 1.03)
    goals.at_most("wall time, with / without", float(ratios[1]), 1.03)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tasks", type=int, default=100_000, help="tasks each way, in total")
    parser.add_argument("--rounds", type=int, default=10, help="turns each way")
    args = parser.parse_args()
    if args.quick:
        args.tasks, args.rounds = 1_000, 2
    print(machine())
    goals = Goals()
    measure(args.tasks, args.rounds, goals)
    goals.print()
    goals.write(args.json)


if __name__ == "__main__":
    main()
