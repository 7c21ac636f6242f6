"""Every built-in family passes the public conformance suite."""

from dask_coded.codes import registered
from dask_coded.testing import CODES, CodeTests


class TestCodes(CodeTests):
    codes = CODES


def test_the_table_covers_every_family() -> None:
    assert {code.name for code in CODES} == set(registered())
