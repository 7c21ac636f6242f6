"""Kernels as programs of the CPU, made by the C++ compiler of the machine."""

import atexit
import ctypes
import os
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from dask_coded.errors import EmulationError

__all__ = ["Job", "host_compiler", "load_emulated", "run_sanitized"]

_FLAGS = ["-std=c++20", "-fno-strict-aliasing", "-Wno-unknown-pragmas", "-pthread"]
#: What a sanitizer is asked for, and what it then is told when it runs.
_SANITIZERS = {
    "address": (["-fsanitize=address"], {"ASAN_OPTIONS": "detect_leaks=0"}),
    "undefined": (["-fsanitize=undefined", "-fno-sanitize-recover=all"], {}),
    "thread": (["-fsanitize=thread"], {"TSAN_OPTIONS": "halt_on_error=1"}),
}
#: How a sanitizer says that it cannot even start.
_FATAL = "FATAL: ThreadSanitizer"
_HEADERS = ("cuda_on_cpu.h", "program.h")


def host_compiler() -> str | None:
    """Path of a g++ that knows C++20, or None."""
    return _host_compiler(os.environ.get("PATH"))


@cache
def _host_compiler(_path: str | None) -> str | None:
    found = shutil.which("g++")
    if found is None:
        return None
    source = _folder() / "probe.cpp"
    source.write_text("#include <barrier>\nstd::barrier<> together(1);\nint main() {}\n")
    run = subprocess.run(
        [found, *_FLAGS, "-o", str(_folder() / "probe"), str(source)],
        capture_output=True,
        check=False,
    )
    return found if run.returncode == 0 else None


@cache
def _folder() -> Path:
    """Where this process keeps what it builds, with the headers; gone at its end."""
    folder = tempfile.TemporaryDirectory(prefix="dask-coded-emulation-")
    atexit.register(folder.cleanup)
    path = Path(folder.name)
    for name in _HEADERS:
        text = (files(__package__) / name).read_text(encoding="utf-8")
        (path / name).write_text(text, encoding="utf-8")
    return path


@cache
def _precompiled() -> None:
    header = _folder() / "cuda_on_cpu.h"
    _compile(["-O0", "-fPIC", "-w", "-x", "c++-header", str(header), "-o", f"{header}.gch"])


def _compile(arguments: list[str]) -> None:
    compiler = host_compiler()
    if compiler is None:
        raise EmulationError(
            "kernels are emulated by g++ with C++20 threads, and none was found. Install g++ 11 or "
            "newer, or run on a device"
        )
    run = subprocess.run(
        [compiler, *_FLAGS, *arguments], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise EmulationError(f"{compiler} does not compile a kernel for emulation: {run.stderr}")


def load_emulated(source: str, kernel: str) -> Any:
    """The kernel as a function of (grid, block, threads, address of its arguments)."""
    name = blake2b(f"{kernel}\n{source}".encode(), digest_size=16).hexdigest()
    library = _folder() / f"{name}.so"
    if not library.exists():
        _precompiled()
        text = _folder() / f"{name}.cpp"
        text.write_text(
            f'#include "cuda_on_cpu.h"\n{source}\n'
            'extern "C" void emulated(unsigned grid, unsigned block, int threads, const void* a)\n'
            "{\n"
            "  emulate(grid, block, threads,\n"
            f"          [=] {{ {kernel}(*static_cast<const Arguments*>(a)); }});\n"
            "}\n",
            encoding="utf-8",
        )
        _compile(["-O0", "-fPIC", "-shared", "-o", str(library), str(text)])
    function = ctypes.CDLL(str(library)).emulated
    function.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
    function.restype = None
    return function


@dataclass
class Job:
    """A launch for :func:`run_sanitized`: buffers by number, and pointers between them."""

    grid: int
    block: int
    threads: bool
    """Whether each CUDA thread is a thread; kernels without barriers may do without."""
    arguments: Any
    """Array of one struct; its pointers are filled in from `pointers`."""
    buffers: list[Any]
    """NumPy arrays, each of which becomes an allocation of exactly its bytes."""
    pointers: list[tuple[int, int, int, int]] = field(default_factory=list)
    """(where, at, buffer, offset): at byte `at` of the arguments (`where` 0) or of buffer
    ``where - 1`` stands the address of byte `offset` of `buffer`."""


def run_sanitized(
    source: str, kernel: str, sanitizer: str, job: Job
) -> tuple[list[Any] | None, str]:
    """Run a kernel under ``"address"``, ``"undefined"`` or ``"thread"``.

    Returns
    -------
    buffers, report
        The buffers afterwards and "", or None and what the sanitizer said.

    Raises
    ------
    EmulationError
        If it does not compile, or the sanitizer itself does not run here.
    """
    flags, told = _SANITIZERS[sanitizer]
    name = blake2b(f"{sanitizer}\n{source}".encode(), digest_size=16).hexdigest()
    program = _folder() / name
    if not program.exists():
        text = _folder() / f"{name}.cpp"
        text.write_text(
            f'#include "cuda_on_cpu.h"\n{source}\n#define KERNEL {kernel}\n#include "program.h"\n',
            encoding="utf-8",
        )
        _compile(["-O1", "-g", *flags, "-o", str(program), str(text)])
    task, answer = _folder() / f"{name}.job", _folder() / f"{name}.out"
    task.write_bytes(_written(job))
    command = [str(program), str(task), str(answer)]
    run = _told(command, told)
    if _FATAL in run.stderr and (fixed := shutil.which("setarch")):
        # It wants memory where some kernels place programs at random; without chance it is free.
        run = _told([fixed, "-R", *command], told)
    if _FATAL in run.stderr:
        raise EmulationError(f"the {sanitizer} sanitizer does not run here: {run.stderr.strip()}")
    if run.returncode:
        return None, run.stderr or f"exit status {run.returncode}"
    data = answer.read_bytes()
    found, start = [], 0
    for buffer in job.buffers:
        stop = start + buffer.nbytes
        found.append(np.frombuffer(data[start:stop], buffer.dtype).reshape(buffer.shape))
        start = stop
    return found, ""


def _told(command: list[str], told: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | told, timeout=120, check=False
    )


def _written(job: Job) -> bytes:
    arguments = job.arguments.tobytes()
    parts = [struct.pack("<IIIQ", job.grid, job.block, job.threads, len(arguments)), arguments]
    parts.append(struct.pack("<Q", len(job.buffers)))
    for buffer in job.buffers:
        parts += [struct.pack("<Q", buffer.nbytes), np.ascontiguousarray(buffer).tobytes()]
    parts.append(struct.pack("<Q", len(job.pointers)))
    parts += [struct.pack("<QQQQ", *pointer) for pointer in job.pointers]
    return b"".join(parts)
