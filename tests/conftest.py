"""Hypothesis profiles, ``--runslow``, a clean skip without a GPU, and tests that travel."""

import importlib.util
import os

import cloudpickle
import hypothesis
import pytest

# No deadline: these machines are shared, and a slow example says nothing about correctness.
# `ci` draws the same examples each time, so a red run can be repeated.
hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.register_profile(
    "ci", deadline=None, max_examples=50, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run tests marked slow")


def _cuda_device_found() -> bool:
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    return bool(cupy.cuda.is_available())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # A worker in a process of its own cannot import the tests: what it gets of them comes whole.
    for module in {item.module for item in items if isinstance(item, pytest.Function)}:
        cloudpickle.register_pickle_by_value(module)
    if not config.getoption("--runslow"):
        skip_slow = pytest.mark.skip(reason="slow: runs with --runslow")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(skip_slow)
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _cuda_device_found():
        skip_gpu = pytest.mark.skip(reason="gpu: no CUDA device with CuPy here")
        for item in on_gpu:
            item.add_marker(skip_gpu)
