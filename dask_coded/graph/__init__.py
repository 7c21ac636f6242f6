"""From chunks to shares: tasks of a group, and the graphs made of them."""

from dask_coded.graph._adjoint import AdjointTerms as AdjointTerms
from dask_coded.graph._adjoint import adjoint_terms as adjoint_terms
from dask_coded.graph._adjoint import sum_tasks as sum_tasks
from dask_coded.graph._arithmetic import PlainArithmetic as PlainArithmetic
from dask_coded.graph._arithmetic import mixed as mixed
from dask_coded.graph._build import Work as Work
from dask_coded.graph._build import group_tasks as group_tasks
from dask_coded.graph._layers import layered as layered
from dask_coded.graph._layers import merged as merged
from dask_coded.graph._matmul import MatmulGroups as MatmulGroups
from dask_coded.graph._matmul import product_tasks as product_tasks
from dask_coded.graph._recognise import DaskProduct as DaskProduct
from dask_coded.graph._recognise import LeftAlone as LeftAlone
from dask_coded.graph._recognise import recognise as recognise
from dask_coded.graph._rewrite import Coding as Coding
from dask_coded.graph._rewrite import Rewritten as Rewritten
from dask_coded.graph._rewrite import rewrite as rewrite
from dask_coded.graph._rows import decoded_rows as decoded_rows
from dask_coded.graph._rows import encoded_rows as encoded_rows
from dask_coded.graph._rows import reference as reference
from dask_coded.graph._rows import references as references
from dask_coded.graph._sides import Side as Side
from dask_coded.graph._sides import generators_of as generators_of
from dask_coded.graph._sides import splits_of as splits_of
from dask_coded.graph._tasks import DataShareTask as DataShareTask
from dask_coded.graph._tasks import DecodeTask as DecodeTask
from dask_coded.graph._tasks import GroupSpec as GroupSpec
from dask_coded.graph._tasks import combination as combination
from dask_coded.graph._tasks import combine_results as combine_results
from dask_coded.graph._tasks import spec_of as spec_of
from dask_coded.graph._tiles import Tiles as Tiles
from dask_coded.graph._tiles import encode_tiles as encode_tiles

__all__ = [
    "AdjointTerms",
    "Coding",
    "DaskProduct",
    "DataShareTask",
    "DecodeTask",
    "GroupSpec",
    "LeftAlone",
    "MatmulGroups",
    "PlainArithmetic",
    "Rewritten",
    "Side",
    "Tiles",
    "Work",
    "adjoint_terms",
    "combination",
    "combine_results",
    "decoded_rows",
    "encode_tiles",
    "encoded_rows",
    "generators_of",
    "group_tasks",
    "layered",
    "merged",
    "mixed",
    "product_tasks",
    "recognise",
    "reference",
    "references",
    "rewrite",
    "spec_of",
    "splits_of",
    "sum_tasks",
]
