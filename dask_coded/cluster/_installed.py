"""Whether scheduler and workers can import this package, asked in words that need no package."""

import asyncio
import sys
import warnings
from typing import TYPE_CHECKING, Any

from distributed.versions import VersionMismatchWarning

from dask_coded.errors import InstallationError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["check_scheduler", "check_workers"]

#: Seconds that workers have to answer. Who is frozen now is not known to lack anything.
_ANSWER = 1.0
_QUESTION = "__import__('dask_coded').__version__"
_REMEDY = (
    "every process of the cluster needs the package. Install dask_coded=={version} on the "
    "scheduler and on all workers (client.get_versions(packages=['dask_coded']) says where it is), "
    "and start them again"
)


async def check_scheduler(client: "Client") -> None:
    """Ask the scheduler for its version.

    Raises
    ------
    InstallationError
        If it has none.
    """
    try:
        found = await client.run_on_scheduler(eval, _QUESTION)
    except ImportError as error:
        raise _missing(f"the scheduler {client.scheduler.address}", error) from error
    _compare({f"scheduler {client.scheduler.address}": found})


async def check_workers(client: "Client") -> None:
    """Ask the workers for their versions; those that do not answer soon are left out.

    Raises
    ------
    InstallationError
        If one has none.
    """
    known = await client.scheduler.identity(n_workers=-1)
    answers = dict(await asyncio.gather(*(_ask(client, address) for address in known["workers"])))
    lacking = {a: found for a, found in answers.items() if isinstance(found, ImportError)}
    if lacking:
        names = ", ".join(lacking)
        raise _missing(f"{len(lacking)} of {len(answers)} workers ({names})", *lacking.values())
    _compare({f"worker {a}": found for a, found in answers.items() if isinstance(found, str)})


async def _ask(client: "Client", address: str) -> tuple[str, Any]:
    try:
        answers = await asyncio.wait_for(
            client.run(eval, _QUESTION, workers=[address], on_error="return"), _ANSWER
        )
    except (TimeoutError, OSError, ValueError):
        return address, None
    return address, answers.get(address)


def _own_version() -> str:
    return str(sys.modules["dask_coded"].__version__)


def _missing(where: str, error: ImportError, *others: ImportError) -> InstallationError:
    return InstallationError(
        f"coded computations were asked for, but {where} cannot import dask_coded ({error}); "
        + _REMEDY.format(version=_own_version())
    )


def _compare(found: dict[str, str]) -> None:
    own = _own_version()
    other = {where: version for where, version in found.items() if version != own}
    if other:
        listed = ", ".join(f"{version} on {where}" for where, version in other.items())
        warnings.warn(
            f"this client has dask_coded {own}, but there is {listed}; groups of one version may "
            f"mean nothing to another: {_REMEDY.format(version=own)}",
            VersionMismatchWarning,
            stacklevel=2,
        )
