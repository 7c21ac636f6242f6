"""Coded computation for Dask: a computation finishes when enough of the cluster has answered."""

from dask_coded.errors import AmplificationWarning as AmplificationWarning
from dask_coded.errors import CodedError as CodedError
from dask_coded.errors import NotDecodableError as NotDecodableError

__version__ = "0.1.0"
