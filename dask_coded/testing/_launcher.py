"""The zygote of a cluster as its owner sees it: started, commanded, ended."""

import copy
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask

from dask_coded.testing._commands import Command, write_command
from dask_coded.testing._points import FOLDER_VARIABLE

__all__ = ["Launcher"]

#: One thread per linear algebra call: the emulated node has so many threads as Dask gives it.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


class Launcher:
    """Starts the zygote and passes commands to it.

    Parameters
    ----------
    folder : path
        The cluster's folder; its logs go to ``folder / "logs"``.
    config : mapping
        Dask configuration of all processes, on top of this one's.
    environment : mapping
        Environment variables of all processes, on top of this one's.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], environment: Mapping[str, str]
    ) -> None:
        self.log = folder / "logs" / "zygote"
        # Functions, such as graph optimisations, are the client's and do not travel as text.
        merged = copy.deepcopy(
            {name: v for name, v in dask.config.global_config.items() if not callable(v)}
        )
        dask.config.set(dict(config), config=merged)
        self.config = merged
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dask_coded.testing._zygote", str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    **ONE_THREAD,
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                    "DASK_INTERNAL_INHERIT_CONFIG": dask.config.serialize(merged),
                    FOLDER_VARIABLE: str(folder),
                    **environment,
                },
                # Ctrl-C is for the owner, who then closes the cluster.
                start_new_session=True,
            )
        assert self._process.stdin is not None
        self._commands = self._process.stdin
        self.pid = self._process.pid

    def is_alive(self) -> bool:
        """Whether the zygote still runs."""
        return self._process.poll() is None

    def start(self, command: Command) -> None:
        """Have one server started; the points of the cluster tell the rest."""
        write_command(self._commands.fileno(), command)

    def close(self, timeout: float = 60.0) -> None:
        """End the zygote, and with it every process of the cluster; returns when they are gone."""
        self._commands.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            # Its children die with it: each asked the kernel for that when it began.
            self._process.kill()
            self._process.wait()
