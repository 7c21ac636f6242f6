"""Kernels compiled for a GPU that need not be there: registers, spills, layout of arguments."""

import ctypes
import ctypes.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from dask_coded.errors import EmulationError
from dask_coded.kernels.gpu._source import OPTIONS

__all__ = ["AbstractCudaCompiler", "Compiled", "cuda_compiler"]


class Compiled(NamedTuple):
    """What a compiler says of one kernel."""

    registers: int
    """32-bit registers of a thread."""
    spilled: int
    """Bytes stored to and loaded from local memory for want of registers."""
    stack: int
    """Bytes of local memory of a thread."""
    shared: int
    """Bytes of shared memory of a block."""
    parameters: tuple[tuple[int, int], ...]
    """Size and alignment of each parameter, bytes."""


class AbstractCudaCompiler(ABC):
    """Compiles one kernel to machine code and to PTX."""

    name: str
    """For messages: which compiler, which version."""

    def compiled(self, source: str, architecture: int = 90) -> Compiled:
        """Compile `source` for a compute capability, 90 for 9.0.

        Raises
        ------
        EmulationError
            If it does not compile; the message holds what the compiler said.
        """
        return _read(*self._both(source, architecture))

    @abstractmethod
    def ptx(self, source: str, architecture: int = 90) -> str:
        """PTX of the source, with the error of :meth:`compiled`."""

    @abstractmethod
    def _both(self, source: str, architecture: int) -> tuple[str, str]:
        """What ptxas says when asked to be verbose, and the PTX, of one compilation."""


@cache
def cuda_compiler() -> AbstractCudaCompiler | None:
    """NVRTC where it can be loaded, else nvcc where it is on the path, else None.

    The wheels ``nvidia-cuda-nvrtc-cu12`` and ``nvidia-cuda-nvrtc`` bring NVRTC without a driver.
    """
    for path in _nvrtc_libraries():
        try:
            return _Nvrtc(ctypes.CDLL(path))
        except (OSError, AttributeError):
            continue
    nvcc = shutil.which("nvcc")
    return None if nvcc is None else _Nvcc(nvcc)


def _nvrtc_libraries() -> Iterator[str]:
    for entry in sys.path:
        for pattern in ("cuda_nvrtc/lib/libnvrtc.so.*", "cu*/lib/libnvrtc.so.*"):
            for path in sorted(Path(entry or ".").glob(f"nvidia/{pattern}")):
                if "builtins" not in path.name:
                    yield str(path)
    for variable in ("CUDA_PATH", "CUDA_HOME"):
        if root := os.environ.get(variable):
            yield f"{root}/lib64/libnvrtc.so"
    if found := ctypes.util.find_library("nvrtc"):
        yield found


class _Nvrtc(AbstractCudaCompiler):
    def __init__(self, library: Any) -> None:
        major, minor = ctypes.c_int(), ctypes.c_int()
        library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.name = f"NVRTC {major.value}.{minor.value}"
        self._library = library

    def _both(self, source: str, architecture: int) -> tuple[str, str]:
        options = (f"--gpu-architecture=sm_{architecture}", "--ptxas-options=-v")
        return self._compile(source, options)

    def ptx(self, source: str, architecture: int = 90) -> str:
        return self._compile(source, (f"--gpu-architecture=compute_{architecture}",))[1]

    def _compile(self, source: str, options: tuple[str, ...]) -> tuple[str, str]:
        """The log and the PTX."""
        library, program = self._library, ctypes.c_void_p()
        library.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None
        )
        try:
            given = [option.encode() for option in (*OPTIONS, *options)]
            status = library.nvrtcCompileProgram(
                program, len(given), (ctypes.c_char_p * len(given))(*given)
            )
            log = self._text(program, "ProgramLog")
            if status:
                raise EmulationError(f"{self.name} does not compile a kernel: {log}")
            return log, self._text(program, "PTX")
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        getattr(self._library, f"nvrtcGet{what}")(program, text)
        return text.value.decode(errors="replace")


class _Nvcc(AbstractCudaCompiler):
    def __init__(self, path: str) -> None:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        version = re.search(r"release (\S+),", told.stdout)
        self.name = f"nvcc {version[1] if version else path}"
        self._path = path

    def _both(self, source: str, architecture: int) -> tuple[str, str]:
        options = ["-cubin", f"-arch=sm_{architecture}", "-Xptxas", "-v", "--keep"]
        return self._compile(source, options)

    def ptx(self, source: str, architecture: int = 90) -> str:
        return self._compile(source, ["-ptx", f"-arch=compute_{architecture}"])[1]

    def _compile(self, source: str, options: list[str]) -> tuple[str, str]:
        """The log and the PTX, which nvcc writes on its way to machine code too."""
        with tempfile.TemporaryDirectory(prefix="dask-coded-nvcc-") as folder:
            Path(folder, "kernel.cu").write_text(source, encoding="utf-8")
            run = subprocess.run(
                [self._path, *OPTIONS, *options, "kernel.cu"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if run.returncode:
                raise EmulationError(f"{self.name} does not compile a kernel: {run.stderr}")
            return run.stderr, Path(folder, "kernel.ptx").read_text(encoding="utf-8")


def _read(resources: str, ptx: str) -> Compiled:
    def number(pattern: str) -> int:
        found = re.search(pattern, resources)
        return int(found[1]) if found else 0

    if "Used " not in resources:
        raise EmulationError(f"the compiler says nothing about registers: {resources!r}")
    return Compiled(
        number(r"Used (\d+) registers"),
        number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        number(r"(\d+) bytes stack frame"),
        number(r"(\d+) bytes smem"),
        tuple(_parameters(ptx)),
    )


def _parameters(ptx: str) -> Iterator[tuple[int, int]]:
    """Size and alignment of the parameters of the only kernel."""
    listed = re.search(r"\.entry\s+\w+\s*\(([^)]*)\)", ptx)
    if listed is None:
        raise EmulationError("the compiled code has no kernel")
    for text in filter(None, (line.strip() for line in listed[1].split(","))):
        struct = re.match(r"\.param \.align (\d+) \.b8 \w+\[(\d+)\]", text)
        if struct is not None:
            yield int(struct[2]), int(struct[1])
        elif plain := re.match(r"\.param \.[a-z](\d+) ", text):
            yield int(plain[1]) // 8, int(plain[1]) // 8
        else:
            raise EmulationError(f"a parameter is declared as {text!r}, which is not understood")
