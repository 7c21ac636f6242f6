"""What a process really holds: a search through all of its memory, freed pages included."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

__all__ = ["found", "marks"]

_PIECE = 1 << 24
_WORD = 8
_COMMON = 1 << 48


def marks(x: np.ndarray) -> list[int]:
    """Some 64-bit numbers of an array as words of memory, without those that lie about anyway."""
    rows, columns = (np.linspace(0, size - 1, 6).astype(int) for size in x.shape)
    words = x.view(np.uint64)[np.ix_(rows, columns)].ravel()
    assert (words > _COMMON).sum() > 8, "there is something to look for"
    return [int(word) for word in words if word > _COMMON]


def found(pid: int, wanted: list[int]) -> set[int]:
    """Which of these words lie anywhere in the memory of a process, at whatever address."""
    words = np.array(sorted(set(wanted)), np.uint64)
    # Most of memory is dismissed by a look at two bytes of each word.
    likely = np.zeros(1 << 16, bool)
    likely[words & np.uint64(0xFFFF)] = True
    seen: set[int] = set()
    for piece in _memory(pid):
        for offset in range(_WORD):
            usable = (len(piece) - offset) // _WORD * _WORD
            if usable:
                there = np.frombuffer(piece, np.uint64, usable // _WORD, offset)
                low = np.frombuffer(piece, np.uint16, usable // 2, offset)[::4]
                candidates = there[likely[low]]
                seen.update(candidates[np.isin(candidates, words)].tolist())
    return seen


def _memory(pid: int) -> Iterator[bytes]:
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="ascii").splitlines()
        memory = open(f"/proc/{pid}/mem", "rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        pytest.skip(f"the memory of other processes cannot be read here: {error}")
    with memory:
        for line in maps:
            span, permissions, *_ = line.split()
            if not permissions.startswith("rw"):
                continue
            first, last = (int(address, 16) for address in span.split("-"))
            for start in range(first, last, _PIECE):
                try:
                    memory.seek(start)
                    yield memory.read(min(last, start + _PIECE + _WORD) - start)
                except (OSError, ValueError, OverflowError):
                    continue
