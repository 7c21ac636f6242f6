"""Mixtures that know the lengths of their blocks travel as their arrays do."""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from dask.sizeof import sizeof
from distributed.protocol import deserialize, deserialize_bytes, serialize, serialize_bytes
from distributed.protocol.cuda import cuda_deserialize, cuda_serialize

from dask_coded.graph._learned import Sized

LENGTHS = {0: 3, 2: 1}


class Far:
    """An array of a device, which its library sends without the host, and nothing else may."""

    def __init__(self, host: Any) -> None:
        self.host = host

    def __reduce__(self) -> Any:
        raise AssertionError("pickled, and so copied to the host")


@pytest.fixture
def far_is_served() -> Iterator[None]:
    cuda_serialize.register(Far)(lambda array: ({}, [array.host]))
    cuda_deserialize.register(Far)(lambda header, frames: Far(frames[0]))
    yield
    for dispatch in (cuda_serialize, cuda_deserialize):
        del dispatch._lookup[Far]


def test_a_mixture_on_the_host_is_sent_without_a_copy() -> None:
    mixture = Sized(np.arange(1e5).reshape(100, 1000), LENGTHS)
    header, frames = serialize(mixture, serializers=("dask", "pickle"), on_error="raise")
    assert header["serializer"] == "dask"
    assert any(np.shares_memory(np.frombuffer(frame), mixture.array) for frame in frames)
    assert sum(memoryview(frame).nbytes for frame in frames) == mixture.array.nbytes
    found = deserialize(header, frames)
    assert type(found) is Sized
    assert found.lengths == LENGTHS
    np.testing.assert_array_equal(found.array, mixture.array)


def test_a_mixture_survives_the_disk_and_pickle() -> None:
    mixture = Sized(np.arange(6.0)[::2], LENGTHS)
    for found in (
        deserialize_bytes(serialize_bytes(mixture)),
        pickle.loads(pickle.dumps(mixture)),
    ):
        assert type(found) is Sized
        assert found.lengths == LENGTHS
        np.testing.assert_array_equal(found.array, mixture.array)


@pytest.mark.usefixtures("far_is_served")
def test_a_mixture_on_a_device_goes_from_device_to_device() -> None:
    mixture = Sized(Far(np.arange(8.0)), LENGTHS)
    header, frames = serialize(mixture, serializers=("cuda", "dask", "pickle"), on_error="raise")
    assert header["serializer"] == "cuda"
    assert header["compression"] == (False,)
    assert frames[0] is mixture.array.host
    found = deserialize(header, frames)
    assert type(found.array) is Far
    assert found.lengths == LENGTHS


def test_a_mixture_on_the_host_does_not_go_by_the_way_of_devices() -> None:
    mixture = Sized(np.arange(8.0), LENGTHS)
    header, _ = serialize(mixture, serializers=("cuda", "dask", "pickle"), on_error="raise")
    assert header["serializer"] == "dask"


def test_the_size_of_a_mixture_is_that_of_its_array() -> None:
    array = np.zeros(10**6)
    assert array.nbytes <= sizeof(Sized(array, LENGTHS)) <= array.nbytes + 10**4
