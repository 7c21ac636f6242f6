"""The command line, before anything optional is imported."""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from dask_coded.errors import CodedError

__all__ = ["main"]

#: What the demo imports beyond the package's own needs, and the name of each for pip.
_NEEDS = {"matplotlib": "matplotlib", "PIL": "pillow", "sklearn": "scikit-learn", "tqdm": "tqdm"}

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m dask_coded`` with these arguments.

    Returns
    -------
    int
        Exit status: 0 if the components are right, 1 if they are wrong or were not found, 2 if
        the demo cannot run here, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    missing = missing_packages()
    if missing:
        print(
            f"the demo needs {', '.join(missing)}, not found for this Python; install with\n\n"
            f"    {sys.executable} -m pip install {' '.join(missing)}\n",
            file=sys.stderr,
        )
        return 2
    # Only now: this imports what was missing a line ago.
    run = importlib.import_module("dask_coded.demo._run").run
    try:
        passed = run(
            workers=options.workers,
            quick=options.quick,
            faults=not options.no_faults,
            out=options.out,
        )
    except CodedError as error:
        print(f"the demo cannot run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the clusters have ended", file=sys.stderr)
        return _INTERRUPTED
    return 0 if passed else 1


def missing_packages() -> list[str]:
    """Names for pip of what the demo needs and cannot find."""
    return [name for module, name in _NEEDS.items() if importlib.util.find_spec(module) is None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dask_coded", description="Coded computation for Dask."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="demo")
    demo = commands.add_parser(
        "demo",
        help="principal components on a cluster that freezes under it, beside plain Dask",
        description=(
            "Find the principal components of all 8 x 8 patches of two photographs, on a local "
            "cluster of which one worker becomes slow and another freezes; once on an encoded "
            "matrix, once on plain Dask. Prints the times of all iterations, checks the "
            "components, and draws both."
        ),
    )
    demo.add_argument("--workers", type=int, metavar="N", help="worker processes (default 10)")
    demo.add_argument(
        "--quick", action="store_true", help="fewer patches and iterations, by default 5 workers"
    )
    demo.add_argument("--no-faults", action="store_true", help="leave all workers well")
    demo.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where to write dask_coded_demo.png (default: here)",
    )
    return parser
