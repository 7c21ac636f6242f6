"""From chunks to shares: tasks of a group, and the graphs made of them."""

from dask_coded.graph._tasks import DataShareTask as DataShareTask
from dask_coded.graph._tasks import DecodeTask as DecodeTask
from dask_coded.graph._tasks import GroupSpec as GroupSpec
from dask_coded.graph._tasks import combination as combination
from dask_coded.graph._tasks import combine_results as combine_results
from dask_coded.graph._tasks import spec_of as spec_of

__all__ = [
    "DataShareTask",
    "DecodeTask",
    "GroupSpec",
    "combination",
    "combine_results",
    "spec_of",
]
