"""A cluster as users start it by hand: ``dask scheduler`` and ``dask worker``, each a process."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from distributed import Client

#: Put before the command in a process that must not have the package.
WITHOUT_PACKAGE = "sys.modules['dask_coded'] = None"
#: Put before the command in a process that has it in another version.
OTHER_VERSION = "import dask_coded; dask_coded.__version__ = '0.0.0'"


class CommandLineCluster:
    """Processes that end with the context, and what they have printed.

    Parameters
    ----------
    folder
        For logs, scratch space and the scheduler's file.
    environment
        Variables of all processes, on top of this one's.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.scheduler_file = folder / "scheduler.json"
        self._environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "DASK_TEMPORARY_DIRECTORY": str(folder),
            **(environment or {}),
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "CommandLineCluster":
        return self

    def __exit__(self, *error: object) -> None:
        # Not asked to close: a worker that loses its scheduler while it closes takes half a minute.
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def _start(self, command: Sequence[str], prologue: str) -> None:
        code = (
            f"import sys; {prologue or 'pass'}; sys.argv[0] = 'dask'; "
            "from dask.__main__ import main; main()"
        )
        log = self.folder / f"{command[0]}-{len(self._processes)}.log"
        with log.open("wb") as file:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", code, *command],
                    stdout=file,
                    stderr=file,
                    env=self._environment,
                    cwd=self.folder,
                )
            )

    def scheduler(self, *arguments: str, prologue: str = "") -> None:
        """Start ``dask scheduler``."""
        command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        command += ["--scheduler-file", str(self.scheduler_file), *arguments]
        self._start(command, prologue)

    def worker(self, name: str, *arguments: str, prologue: str = "") -> None:
        """Start ``dask worker`` with one thread."""
        command = ["worker", "--scheduler-file", str(self.scheduler_file), "--name", name]
        command += ["--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        self._start([*command, *arguments], prologue)

    @contextlib.contextmanager
    def client(self, n_workers: int) -> Iterator[Client]:
        """A client, once so many workers have come."""
        with Client(scheduler_file=str(self.scheduler_file), timeout=120) as client:
            client.wait_for_workers(n_workers, timeout=120)
            yield client

    def logs(self) -> str:
        """What all processes have printed."""
        return "\n".join(log.read_text(errors="replace") for log in self.folder.glob("*.log"))
