"""A progress bar on a terminal; nothing where the output is a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

__all__ = ["Bar", "bar"]


class Bar:
    """Steps done, and a few words about the one under way."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._words = ""

    def step(self) -> None:
        """One more is done."""
        self._display.set_postfix_str(self._words, refresh=False)
        self._display.update()

    def say(self, words: str) -> None:
        """Show these until there are others; none changes nothing."""
        self._words = words or self._words
        self._display.set_postfix_str(self._words)

    def waiting(self, seconds: float) -> None:
        """The step under way has taken so long already."""
        self._display.set_postfix_str(f"{self._words}; no answer for {seconds:.0f} s".lstrip("; "))


@contextmanager
def bar(title: str, total: int) -> Iterator[Bar]:
    """A bar of `total` steps, while the body of the ``with`` block runs."""
    layout = "  {desc:<10}{bar:20} {n_fmt:>2}/{total_fmt} {elapsed}  {postfix}"
    # disable=None: only on a terminal.
    with tqdm(
        total=total, desc=title, bar_format=layout, dynamic_ncols=True, disable=None
    ) as display:
        yield Bar(display)
