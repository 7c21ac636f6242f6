"""What the owner of an emulated cluster tells its zygote, through a pipe."""

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["Command", "read_command", "write_command"]


@dataclass(frozen=True)
class Command:
    """Start one server.

    Parameters
    ----------
    name : str
        Its name, for logs and announcements.
    kind : {"scheduler", "worker", "nanny"}
        Which server of distributed.
    log : path
        Where its output goes.
    group : path, optional
        Control group to enter first.
    arguments : mapping
        Keyword arguments of the server class.
    """

    name: str
    kind: Literal["scheduler", "worker", "nanny"]
    log: Path
    group: Path | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def write_command(pipe: int, command: Command) -> None:
    """Send `command` through the file descriptor `pipe`, length first."""
    message = pickle.dumps(command)
    message = len(message).to_bytes(4, "big") + message
    while message:
        message = message[os.write(pipe, message) :]


def read_command(pipe: int) -> Command | None:
    """The next command of `pipe`, or None at its end."""
    header = _read_exactly(pipe, 4)
    body = header and _read_exactly(pipe, int.from_bytes(header, "big"))
    if not body:
        return None
    command = pickle.loads(body)
    assert isinstance(command, Command)
    return command


def _read_exactly(pipe: int, length: int) -> bytes:
    message = b""
    while len(message) < length:
        piece = os.read(pipe, length - len(message))
        if not piece:
            return b""
        message += piece
    return message
