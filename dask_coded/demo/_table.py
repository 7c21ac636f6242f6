"""What happened, as text."""

from collections.abc import Sequence
from statistics import median

from dask_coded.demo._arms import Run
from dask_coded.demo._story import Story

__all__ = ["iterations_table", "medians_table"]


def iterations_table(story: Story, coded: Run, plain: Run) -> str:
    """Every iteration of both arms, with the faults where they strike."""
    rows = [["iteration", "coded", "plain Dask", ""]]
    for index in range(story.n_iterations):
        rows.append([str(index + 1), _time(coded, index), _time(plain, index), story.event(index)])
    return _aligned(rows)


def medians_table(story: Story, coded: Run, plain: Run) -> str:
    """The median iteration of each phase."""
    rows = [["median of an iteration", "coded", "plain Dask", ""]]
    for name, iterations in story.phases():
        first, second = (_median(run, iterations) for run in (coded, plain))
        rows.append([name, _shown(first), _shown(second), _ratio(first, second)])
    return _aligned(rows)


def _time(run: Run, index: int) -> str:
    if index < len(run.seconds):
        return _shown(run.seconds[index])
    if index == len(run.seconds) and run.stuck is not None:
        return f"stuck, given up after {run.stuck:.0f} s"
    return "-"


def _median(run: Run, iterations: range) -> float | None:
    """None unless all of them ended."""
    times = run.seconds[iterations.start : iterations.stop]
    return median(times) if times and len(times) == len(iterations) else None


def _shown(seconds: float | None) -> str:
    return "never ends" if seconds is None else f"{seconds:.2f} s"


def _ratio(coded: float | None, plain: float | None) -> str:
    if coded is None or plain is None:
        return ""
    faster = "coded" if coded < plain else "plain Dask"
    return f"{faster} is {max(coded, plain) / min(coded, plain):.1f} times faster"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *times, note in rows:
        cells = [name.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(times, widths[1:], strict=False)]
        lines.append("  ".join(["", *cells, note]).rstrip())
    return "\n".join(lines)
