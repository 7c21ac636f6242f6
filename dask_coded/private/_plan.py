"""How a private product will be computed, by whom, and why; known before anything is sent."""

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dask_coded.codes import AbstractPrivateCode
from dask_coded.errors import SharedHostWarning

__all__ = ["PrivatePlan", "reason_for", "warn_of_shared_hosts"]


@dataclass(frozen=True)
class PrivatePlan:
    """Who would be given what; its ``repr`` says by which code and why. Nothing of it is secret."""

    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    """Of the operands."""
    code: AbstractPrivateCode
    addresses: tuple[str, ...]
    """The untrusted worker at each place of ``code.workers``."""
    reason: str

    def __repr__(self) -> str:
        left, right = self.shapes
        code = self.code
        several = "" if len(code.workers) == code.n_shares else " of several to a worker"
        return (
            f"private product {left} @ {right} by {code!r} on {len(self.addresses)} untrusted "
            f"workers: {self.reason}; any {code.recovery_threshold} of {code.n_shares} "
            f"results{several} decode, any {code.colluding} workers together learn nothing"
        )


def reason_for(code: AbstractPrivateCode, parity: int) -> str:
    """Why a code is the default one."""
    lost = f"{parity} may be lost and {code.colluding} collude"
    if code.operation == "polynomial":
        return f"each multiplies the operands of one pair, and no fewer results do where {lost}"
    pieces = math.prod(code.operand_grids[0]) * code.output_grid[1]
    each = "all of the product" if pieces == 1 else f"1/{pieces} of the product"
    return (
        f"each computes {each}, which is the least of PrivateEntangled where {lost}; "
        "PrivateBivariate, which counts what slow workers have finished, is used if asked for"
    )


def warn_of_shared_hosts(
    addresses: tuple[str, ...], known: Mapping[str, Mapping[str, Any]], colluding: int
) -> None:
    """Warn if one of several machines has more of the workers than may collude.

    Where all workers are on one machine this is a test, or hides nothing from its administrator,
    which the documentation says.
    """
    hosts = Counter(str(known[address].get("host")) for address in addresses)
    host, most = max(hosts.items(), key=lambda item: item[1])
    if len(hosts) > 1 and most > colluding:
        warnings.warn(
            f"{most} of the {len(addresses)} workers that are sent shares run on {host}, and "
            f"colluding={colluding}: whoever controls that machine can learn the operands. Give "
            "workers=[...] with one of each machine, or a larger colluding",
            SharedHostWarning,
            stacklevel=4,
        )
