"""The demo as one picture: input, components, and how long each iteration took."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from dask_coded.demo._arms import Run
from dask_coded.demo._patches import SIDE, Patches
from dask_coded.demo._power import Eigenpairs
from dask_coded.demo._story import COMPONENTS, Story

__all__ = ["draw"]

_CODED, _PLAIN = "#0b7a75", "#c8553d"
_INK, _FAINT = "#263238", "#90a4ae"
_BANDS = ("#ffffff", "#fff3dc", "#ffe0d3")


def draw(
    path: Path, story: Story, patches: Patches, coded: Run, plain: Run, expected: Eigenpairs
) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(10, 6.4), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.0, 1.55), hspace=0.0)
    upper, lower = parts
    _input_and_components(upper, patches, coded, expected)
    _times(lower, story, coded, plain)
    figure.savefig(path)


def _input_and_components(part: Any, patches: Patches, coded: Run, expected: Eigenpairs) -> None:
    n = patches.shape[0]
    grid = part.add_gridspec(
        2, 3 + COMPONENTS, width_ratios=(1.95, 1.95, 0.95, *[1] * COMPONENTS),
        left=0.02, right=0.985, top=0.84, bottom=0.06, wspace=0.06, hspace=0.08,
    )  # fmt: skip
    for column, photograph in enumerate(patches.photographs[:2]):
        axis = part.add_subplot(grid[:, column])
        axis.imshow(photograph)
        axis.set_axis_off()
    part.text(0.02, 0.9, f"{n:,} patches of {SIDE} x {SIDE} pixels", color=_INK, fontsize=11)
    part.text(
        0.404, 0.9, f"their {COMPONENTS} leading principal components", color=_INK, fontsize=11
    )
    rows = [("coded", coded.found), ("numpy", expected)]
    for row, (name, pairs) in enumerate(rows):
        label = part.add_subplot(grid[row, 2])
        label.set_axis_off()
        colour = _CODED if name == "coded" else _INK
        label.text(0.9, 0.5, name, ha="right", va="center", color=colour, fontsize=10)
        if pairs is None:
            label.text(1.4, 0.5, "none found", va="center", color=_PLAIN, fontsize=10)
            continue
        for index in range(COMPONENTS):
            axis = part.add_subplot(grid[row, 3 + index])
            axis.imshow(_as_image(pairs.vectors[:, index], expected.vectors[:, index]))
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_color(_FAINT)
            axis.spines[:].set_linewidth(0.5)


def _as_image(component: Any, like: Any) -> npt.NDArray[np.float64]:
    """Zero is grey. A component has no sign of its own: the extreme pixel of `like` is bright."""
    signed = component * np.sign((component @ like) * like[np.abs(like).argmax()])
    image: npt.NDArray[np.float64] = 0.5 + 0.5 * signed / np.abs(signed).max()
    return image.reshape(SIDE, SIDE, 3)


def _times(part: Any, story: Story, coded: Run, plain: Run) -> None:
    axis = part.add_axes((0.075, 0.135, 0.905, 0.69))
    longest = max([*coded.seconds, *plain.seconds, plain.stuck or 0, coded.stuck or 0])
    shortest = min([*coded.seconds, *plain.seconds], default=longest / 10)
    axis.set_yscale("log")
    axis.set_ylim(shortest / 2.2, longest * 1.9)
    axis.set_xlim(0.4, story.n_iterations + 0.6)

    for (name, iterations), colour in zip(story.phases(), _BANDS, strict=False):
        left, right = iterations.start + 0.5, iterations.stop + 0.5
        axis.axvspan(left, right, color=colour, lw=0, zorder=0)
        axis.text(
            left, 1.02, name, transform=axis.get_xaxis_transform(),
            va="bottom", color=_INK, fontsize=10,
        )  # fmt: skip
    _line(axis, "plain Dask", plain, _PLAIN, above=plain.seconds > coded.seconds)
    _line(axis, "coded", coded, _CODED, above=coded.seconds >= plain.seconds)

    axis.set_xlabel("iteration", color=_INK)
    axis.set_xticks(range(1, story.n_iterations + 1))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axis.tick_params(which="both", colors=_INK, length=0)
    axis.grid(axis="y", color="#dfe5e8", lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[:].set_visible(False)
    part.text(
        0.02, 0.925, "seconds until each iteration's product was there",
        color=_INK, fontsize=11,
    )  # fmt: skip


def _line(axis: Any, name: str, run: Run, colour: str, *, above: bool) -> None:
    ended = len(run.seconds)
    axis.plot(range(1, ended + 1), run.seconds, "-o", color=colour, lw=2, ms=5, zorder=3)
    if ended:
        # Clear of what the line does below or above its name.
        height = (max if above else min)(run.seconds[:4])
        axis.annotate(
            name, (1, height), (0, 9 if above else -12), textcoords="offset points",
            ha="left", va="bottom" if above else "top", color=colour, fontsize=11, weight="bold",
        )  # fmt: skip
    if run.stuck is not None:
        axis.plot([ended, ended + 1], [*run.seconds[-1:], run.stuck][-2:], ":", color=colour, lw=2)
        axis.plot(ended + 1, run.stuck, "x", color=colour, ms=9, mew=2.5, zorder=3)
        axis.annotate(
            f"stuck: no answer after {run.stuck:.0f} s, given up", (ended + 1, run.stuck),
            (10, 0), textcoords="offset points", va="center", color=colour, fontsize=10,
        )  # fmt: skip
