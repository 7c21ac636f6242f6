"""Groups as graphs: from the work of each share to tasks that a scheduler can run."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from dask._task_spec import Task, TaskRef
from dask.typing import Key

from dask_coded.codes import AbstractCode
from dask_coded.graph._learned import LearnedShape
from dask_coded.graph._rounding import Verification
from dask_coded.graph._tasks import DataShareTask, DecodeTask, GroupSpec, Shape, ShareTask

__all__ = ["Work", "group_tasks"]

#: What a share's task does: a function and its arguments, ``TaskRef`` for those that are tasks.
Work: TypeAlias = tuple[Callable[..., Any], Sequence[Any]]


def group_tasks(
    group: str,
    code: AbstractCode,
    work: Sequence[Work],
    outputs: Sequence[Key],
    *,
    parity_name: str,
    wanted: Sequence[bool] | None = None,
    tolerance: float | None = None,
    shapes: tuple[Shape | LearnedShape, ...] | None = None,
    dtype: str | None = None,
    at_rest: bool = False,
    cohort: str | None = None,
    verify: Verification | None = None,
    dtypes: tuple[str, ...] | None = None,
    eps: float | None = None,
) -> dict[Key, Task]:
    """Tasks of one group.

    Parameters
    ----------
    group
        Token of the group, unique to it.
    code
        The code.
    work
        What each share's task does, by share index.
    outputs
        Key of each output, by output index.
    parity_name
        Shares that are no output get the keys ``(parity_name, group, share)``.
    wanted
        Whether each output exists; one that only pads the code to its grid does not, and the
        share that would be it becomes an ordinary share.
    tolerance, shapes, dtype, at_rest, cohort
        Of the outputs; see :class:`GroupSpec`.
    verify
        How to deal with wrong results. The shares' work then gives measured results, and the
        outputs are parts of one task that has compared them.
    dtypes, eps
        Of the outputs one by one, and of the shares; see :class:`GroupSpec`.
    """
    exists = [True] * len(outputs) if wanted is None else list(wanted)
    if verify is not None:
        bundle = (f"{parity_name}-verified", group)
        shares = tuple((parity_name, group, share) for share in range(code.n_shares))
        spec = GroupSpec(
            group, code, shares, (bundle,), tolerance, shapes, dtype=dtype, verify=verify, eps=eps
        )
        tasks: dict[Key, Task] = {bundle: DecodeTask(bundle, spec=spec)}
        for key, (func, args) in zip(shares, work, strict=True):
            tasks[key] = ShareTask(key, func, *args)
        for number, key in enumerate(outputs):
            if exists[number]:
                tasks[key] = Task(key, operator.getitem, TaskRef(bundle), number)
        return tasks
    keys: list[Key] = [(parity_name, group, share) for share in range(code.n_shares)]
    held: set[int] = set()
    for output, share in enumerate(code.direct()):
        if share is not None and exists[output] and share not in held:
            held.add(share)
            keys[share] = outputs[output]
    spec = GroupSpec(
        group,
        code,
        tuple(keys),
        tuple(outputs),
        tolerance,
        shapes,
        dtype,
        at_rest,
        cohort,
        dtypes=dtypes,
        eps=eps,
    )
    tasks = {}
    for share, (func, args) in enumerate(work):
        key = keys[share]
        if share in held:
            tasks[key] = DataShareTask(key, func, *args, spec=spec)
        else:
            tasks[key] = Task(key, func, *args)
    for output, key in enumerate(outputs):
        if exists[output] and key not in tasks:
            tasks[key] = DecodeTask(key, spec=spec)
    return tasks
