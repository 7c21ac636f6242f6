"""The kernel of one weighted sum: which specialisation it takes, and its arguments."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dask_coded.kernels.gpu._arithmetic import Arithmetic, element_type
from dask_coded.kernels.gpu._geometry import REGISTERS, Geometry
from dask_coded.kernels.gpu._source import Specialization

__all__ = ["MAX_DIMS", "Plan", "plan", "point_to_table", "row_passes"]

#: Axes that arrays may have after joining; blocks with more are made contiguous first.
MAX_DIMS = 4
# Sums that are made at once: all of them are in registers.
_MOST_SUMS = 16
# Outputs that stream while inputs are held, and inputs that can be held.
_MOST_STREAMED = 64
_MOST_HELD = 16
# Blocks whose pointers and weights go by value; more come from a table in device memory.
_MOST_BY_VALUE = 64
# Room in the arguments for what is neither pointer, stride nor weight.
_OTHER_BYTES = 128
# Multiply-adds in a row that are still written out, those of wide sums counted by registers.
_MOST_UNROLLED = 1024


class Plan(NamedTuple):
    """One launch."""

    specialization: Specialization
    arguments: Any
    """Array of one struct; `table` is still to be given an address where there is one."""
    table: Any
    """Bytes for device memory, pointers and then weights, or None."""
    n_items: int
    """Threads' worth of work."""


def row_passes(arithmetic: Arithmetic, limit: int) -> list[slice]:
    """Rows of the weights that one launch makes, each launch reading all inputs.

    Few inputs are held in registers while outputs stream, as many as arguments of `limit` bytes
    hold; otherwise the sums are held, and there are as many as registers hold.
    """
    n_outputs, n_inputs = arithmetic.weights.shape
    most = _sums(arithmetic)
    if n_inputs <= _most_held(arithmetic):
        per_output = n_inputs * arithmetic.weights.dtype.itemsize + 8 * (MAX_DIMS + 1)
        rest = limit - _OTHER_BYTES - 8 * n_inputs * (MAX_DIMS + 1)
        most = max(most, min(_MOST_STREAMED, rest // per_output))
    passes = -(-n_outputs // most)
    bounds = [n_outputs * number // passes for number in range(passes + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _sums(arithmetic: Arithmetic) -> int:
    return min(_MOST_SUMS, REGISTERS // arithmetic.registers)


def _most_held(arithmetic: Arithmetic) -> int:
    return min(_MOST_HELD, REGISTERS // arithmetic.registers)


def plan(
    arithmetic: Arithmetic,
    geometry: Geometry,
    dtypes: tuple[np.dtype[Any], np.dtype[Any]],
    outside: int,
    limit: int,
) -> Plan | None:
    """The launch that makes all rows of `arithmetic.weights`, one of `row_passes`.

    `geometry` holds the inputs, then the outputs; `dtypes` are theirs; `outside` is the address of
    the flag for values that are no residues. None if the arguments, of at most `limit` bytes, do
    not hold so many strides.
    """
    n_outputs, n_inputs = arithmetic.weights.shape
    taken, made = dtypes
    by_value = n_inputs <= _MOST_BY_VALUE
    if by_value:
        layout = _layout(n_inputs, n_outputs, geometry.dims, arithmetic.weights.dtype)
        by_value = layout.itemsize <= limit
    if not by_value:
        if geometry.dims:
            return None
        layout = _table_layout(n_outputs)
    many = n_outputs > min(_sums(arithmetic), n_inputs)
    held = by_value and many and n_inputs <= _most_held(arithmetic)
    live = n_inputs if held else n_outputs
    width = geometry.width(max(taken.itemsize, made.itemsize), live, arithmetic.registers)
    weights = arithmetic.weights.T
    defines: dict[str, str | int] = {
        "INPUTS": n_inputs if by_value else 0,
        "OUTPUTS": n_outputs,
        "ARITHMETIC": arithmetic.name,
        "IN_T": element_type(taken),
        "OUT_T": element_type(made),
        "WIDTH": width,
        "DIMS": geometry.dims,
        "MASKED": int(arithmetic.rounds and bool((weights == 0).any())),
        # Compilers choose well for floats; sums of residues they squeeze until they spill.
        "BOUNDS": "256, 2" if arithmetic.modulus else "256",
        "HELD": int(held),
        "ROLLED": int(n_inputs * n_outputs * width * arithmetic.registers > _MOST_UNROLLED),
    }
    arguments = np.zeros(1, layout)
    length = int(np.prod(geometry.shape))
    arguments["length"] = length
    arguments["p"], arguments["inverse"] = arithmetic.modulus, arithmetic.inverse
    arguments["outside"] = outside
    arguments["out"] = geometry.pointers[n_inputs:]
    table = None
    if by_value:
        arguments["in"] = geometry.pointers[:n_inputs]
        arguments["weights"] = weights.reshape(-1)
        if geometry.dims:
            arguments["shape"] = geometry.shape
            arguments["steps"] = geometry.steps
    else:
        arguments["inputs"] = n_inputs
        pointers = np.array(geometry.pointers[:n_inputs], np.uint64)
        table = np.frombuffer(pointers.tobytes() + weights.tobytes(), np.uint8)
    specialization = Specialization("combine", tuple(defines.items()), layout)
    return Plan(specialization, arguments, table, -(-length // width))


def point_to_table(plan: Plan, address: int) -> None:
    """Tell the kernel where its table was put."""
    plan.arguments["in"] = address
    plan.arguments["weights"] = address + 8 * int(plan.arguments["inputs"][0])


def _layout(n_inputs: int, n_outputs: int, dims: int, weight: np.dtype[Any]) -> np.dtype[Any]:
    fields: list[tuple[Any, ...]] = [("in", "u8", (n_inputs,)), *_common_fields(n_outputs)]
    if dims:
        fields += [("shape", "i8", (dims,)), ("steps", "i8", ((n_inputs + n_outputs) * dims,))]
    fields += [("weights", weight, (n_inputs * n_outputs,))]
    return np.dtype(fields, align=True)


def _table_layout(n_outputs: int) -> np.dtype[Any]:
    fields = [("in", "u8"), ("weights", "u8"), ("inputs", "i8"), *_common_fields(n_outputs)]
    return np.dtype(fields, align=True)


def _common_fields(n_outputs: int) -> list[tuple[Any, ...]]:
    return [
        ("out", "u8", (n_outputs,)),
        ("length", "i8"),
        ("p", "u8"),
        ("inverse", "u8"),
        ("outside", "u8"),
    ]
