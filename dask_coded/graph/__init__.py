"""From chunks to shares: tasks of a group, and the graphs made of them."""

from dask_coded.graph._adjoint import AdjointTerms as AdjointTerms
from dask_coded.graph._adjoint import adjoint_terms as adjoint_terms
from dask_coded.graph._adjoint import sum_tasks as sum_tasks
from dask_coded.graph._arithmetic import PlainArithmetic as PlainArithmetic
from dask_coded.graph._arithmetic import mixed as mixed
from dask_coded.graph._batch import BatchGroups as BatchGroups
from dask_coded.graph._batch import batch_graph as batch_graph
from dask_coded.graph._batch import batch_tasks as batch_tasks
from dask_coded.graph._batch_sides import BatchSides as BatchSides
from dask_coded.graph._batch_sides import Pair as Pair
from dask_coded.graph._batch_sides import batch_sides as batch_sides
from dask_coded.graph._build import Work as Work
from dask_coded.graph._build import group_tasks as group_tasks
from dask_coded.graph._carried import carried as carried
from dask_coded.graph._carried import carried_task as carried_task
from dask_coded.graph._checked import PiecewiseAdjoint as PiecewiseAdjoint
from dask_coded.graph._checked import checked_terms as checked_terms
from dask_coded.graph._exact import ExactArithmetic as ExactArithmetic
from dask_coded.graph._layers import layered as layered
from dask_coded.graph._layers import merged as merged
from dask_coded.graph._matmul import MatmulGroups as MatmulGroups
from dask_coded.graph._matmul import product_tasks as product_tasks
from dask_coded.graph._measured import measured_result as measured_result
from dask_coded.graph._measured import row_lengths as row_lengths
from dask_coded.graph._recognise import DaskProduct as DaskProduct
from dask_coded.graph._recognise import LeftAlone as LeftAlone
from dask_coded.graph._recognise import recognise as recognise
from dask_coded.graph._residues import mixed_residues as mixed_residues
from dask_coded.graph._rewrite import Coding as Coding
from dask_coded.graph._rewrite import Rewritten as Rewritten
from dask_coded.graph._rewrite import rewrite as rewrite
from dask_coded.graph._rounding import Verification as Verification
from dask_coded.graph._rounding import Verify as Verify
from dask_coded.graph._rounding import unit_rounding as unit_rounding
from dask_coded.graph._rows import decoded_rows as decoded_rows
from dask_coded.graph._rows import encoded_rows as encoded_rows
from dask_coded.graph._rows import reference as reference
from dask_coded.graph._rows import references as references
from dask_coded.graph._rows import row_length_tasks as row_length_tasks
from dask_coded.graph._sides import Side as Side
from dask_coded.graph._sides import generators_of as generators_of
from dask_coded.graph._sides import splits_of as splits_of
from dask_coded.graph._sketches import sketch_columns as sketch_columns
from dask_coded.graph._sketches import sketch_task as sketch_task
from dask_coded.graph._tasks import DataShareTask as DataShareTask
from dask_coded.graph._tasks import DecodeTask as DecodeTask
from dask_coded.graph._tasks import GroupSpec as GroupSpec
from dask_coded.graph._tasks import combination as combination
from dask_coded.graph._tasks import combine_results as combine_results
from dask_coded.graph._tasks import spec_of as spec_of
from dask_coded.graph._tiles import Tiles as Tiles
from dask_coded.graph._tiles import encode_tiles as encode_tiles
from dask_coded.graph._told import TOPIC as TOPIC
from dask_coded.graph._verify import verified as verified

__all__ = [
    "TOPIC",
    "AdjointTerms",
    "BatchGroups",
    "BatchSides",
    "Coding",
    "DaskProduct",
    "DataShareTask",
    "DecodeTask",
    "ExactArithmetic",
    "GroupSpec",
    "LeftAlone",
    "MatmulGroups",
    "Pair",
    "PiecewiseAdjoint",
    "PlainArithmetic",
    "Rewritten",
    "Side",
    "Tiles",
    "Verification",
    "Verify",
    "Work",
    "adjoint_terms",
    "batch_graph",
    "batch_sides",
    "batch_tasks",
    "carried",
    "carried_task",
    "checked_terms",
    "combination",
    "combine_results",
    "decoded_rows",
    "encode_tiles",
    "encoded_rows",
    "generators_of",
    "group_tasks",
    "layered",
    "measured_result",
    "merged",
    "mixed",
    "mixed_residues",
    "product_tasks",
    "recognise",
    "reference",
    "references",
    "rewrite",
    "row_length_tasks",
    "row_lengths",
    "sketch_columns",
    "sketch_task",
    "spec_of",
    "splits_of",
    "sum_tasks",
    "unit_rounding",
    "verified",
]
