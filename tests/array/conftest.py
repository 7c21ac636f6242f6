"""Lets the tests of this folder import their helpers; the array libraries of a device."""

import sys
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

# Configuration defaults have to be known before distributed's test helpers remember them.
import dask_coded.cluster  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))

from device_support import Library, library


@pytest.fixture(params=["device_arrays", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[Library]:
    with dask.config.set(scheduler="sync"):
        yield library(request.param)
