"""A cache that forgets what was used longest ago."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

__all__ = ["Recent"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key, within a budget of bytes; any thread may call.

    Counting entries would not do: weights of a code of 1,000 shares are a million times as large
    as those of a code of one.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._spent = 0
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value put under `key`, unless it was forgotten."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def first(self, keys: Iterable[Key]) -> tuple[Key, Value] | None:
        """The first of some keys that is there, with its value."""
        with self._lock:
            for key in keys:
                found = self._kept.get(key)
                if found is not None:
                    return key, found[0]
        return None

    def put(self, key: Key, value: Value, size: int) -> Value:
        """Keep a value of `size` bytes; the value, or the one that another thread put before it.

        The newest value is kept even if it alone exceeds the budget.
        """
        with self._lock:
            if key in self._kept:
                return self._kept[key][0]
            self._kept[key] = (value, size)
            self._spent += size
            while self._spent > self._budget and len(self._kept) > 1:
                self._spent -= self._kept.popitem(last=False)[1][1]
            return value
