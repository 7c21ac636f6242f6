"""For clusters started from the command line: ``dask scheduler --preload dask_coded.preload``."""

from dask_coded.cluster import dask_setup as dask_setup

__all__ = ["dask_setup"]
