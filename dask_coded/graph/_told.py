"""What workers find when they compare results, told to whoever can do something about it."""

import warnings
from typing import Any

from distributed import get_worker

from dask_coded.codes import AbstractCode
from dask_coded.errors import AmplificationWarning, WrongResultWarning

__all__ = ["TOPIC", "tell_amplification", "tell_wrong"]

#: Where workers report what they found.
TOPIC = "dask-coded"


def tell_wrong(group: str, code: AbstractCode, wrong: set[int], *, corrected: bool) -> None:
    """Report to the scheduler, which knows the workers; without one, warn."""
    shares = sorted(wrong)
    event = {"action": "wrong-results", "group": group, "shares": shares, "corrected": corrected}
    if not _logged(event) and corrected:
        warnings.warn(
            f"the results of shares {shares} of {group} ({code!r}) were wrong; the outputs were "
            "decoded without them",
            WrongResultWarning,
            stacklevel=2,
        )


def tell_amplification(
    group: str, code: AbstractCode, amplification: float, eps: float, tolerance: float | None
) -> None:
    """Report what decoding from what is left costs; without a scheduler, warn if it is too much.

    Nobody else knows: the scheduler judged all survivors, before some were done without.
    """
    event = {"action": "decoded-without", "group": group, "amplification": amplification}
    if not _logged(event) and tolerance is not None and amplification * eps > tolerance:
        warnings.warn(
            f"{group} of {code!r} asked for a relative error of {tolerance:.1e}; from the results "
            f"that are right, decoding may amplify rounding to {amplification * eps:.1e}. Use more "
            "parity, or a better conditioned code",
            AmplificationWarning,
            stacklevel=2,
        )


def _logged(event: dict[str, Any]) -> bool:
    try:
        worker = get_worker()
    except ValueError:
        return False
    worker.log_event(TOPIC, event)
    return True
