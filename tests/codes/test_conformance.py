"""Every built-in family passes the public conformance suite."""

import subprocess
import sys

from dask_coded.codes import registered
from dask_coded.testing import CODES, CodeTests


class TestCodes(CodeTests):
    codes = CODES


def test_the_table_covers_every_family() -> None:
    assert {code.name for code in CODES} == set(registered())


def test_only_the_suite_needs_pytest() -> None:
    """Clusters and their workers import dask_coded.testing where pytest need not be installed."""
    program = "import sys, dask_coded.testing; print('pytest' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"
