"""The source of one kernel, specialised: definitions, the headers it needs, and its file."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

__all__ = ["OPTIONS", "Specialization"]

#: What NVRTC and nvcc are told. Each module holds one kernel, which compiles in about a second at
#: most; a file of all of them takes half a minute.
OPTIONS = ("-std=c++17",)
_HEADERS = {"combine": ("common.cuh", "arithmetic.cuh")}


@dataclass(frozen=True)
class Specialization:
    """One kernel for one set of sizes and types."""

    kernel: str
    """File and function: ``"combine"``, ``"candidates"``, ``"fuse_distances"``, ``"top_k"``."""
    defines: tuple[tuple[str, str | int], ...]
    """Macros that the file asks for, other than ARGUMENT_BYTES."""
    arguments: np.dtype[Any]
    """Layout of the one argument, a struct that travels by value."""

    def source(self) -> str:
        """Everything that a compiler needs; it includes no file."""
        names = (*_HEADERS.get(self.kernel, ("common.cuh",)), f"{self.kernel}.cu")
        given = (*self.defines, ("ARGUMENT_BYTES", self.arguments.itemsize))
        defines = "".join(f"#define {name} {value}\n" for name, value in given)
        return defines + "".join(_text(name) for name in names)


@lru_cache
def _text(name: str) -> str:
    return (files(__package__) / "cuda" / name).read_text(encoding="utf-8")
