"""The graph optimisation: what it codes, what it leaves, and that nothing else changes."""

import logging
import pickle
import subprocess
import sys
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.array.optimization import optimize as dask_optimize
from dask.core import flatten
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import computed_without, loss_sets, low_level, specs
from operands import products

from dask_coded.array import explain, optimize, optimize_graph
from dask_coded.array._optimize import Optimization
from dask_coded.cluster import report
from dask_coded.codes import (
    LT,
    MDS,
    AbstractCode,
    MatDot,
    Polynomial,
    Product,
    Replication,
)
from dask_coded.errors import ParameterError, UnsupportedOperationError
from dask_coded.fields import COMPLEX, PAIRED, PrimeField

pytestmark = pytest.mark.filterwarnings("ignore::dask.array.PerformanceWarning")

RNG = np.random.default_rng(11)
#: Even chunks, several inner ones.
A = da.from_array(RNG.random((8, 6)), chunks=(2, 2))
B = da.from_array(RNG.random((6, 8)), chunks=(2, 4))


def computed(array: Any) -> Any:
    return array.compute(scheduler="sync")


def forms(a: da.Array, b: da.Array) -> list[da.Array]:
    """The ways in which Dask writes a product of these operands."""
    ways = [da.matmul(a, b)]
    if max(a.ndim, b.ndim) <= 2:
        ways += [da.dot(a, b), da.tensordot(a, b, axes=1)]
    return ways


@given(products(["float64", "float32", "complex128", "int64", "int32", "uint8", "bool"]))
@settings(max_examples=60)
def test_values_are_those_of_dask(operands: tuple[da.Array, da.Array]) -> None:
    for product in forms(*operands):
        plain = np.asarray(computed(product))
        for parity in (1, 2):
            with optimize(parity=parity):
                coded = np.asarray(computed(product))
            assert coded.dtype == plain.dtype
            np.testing.assert_allclose(coded, plain, rtol=1e-5)


@pytest.mark.parametrize("parity", [1, 2])
@pytest.mark.parametrize("inner", [8, 3])
def test_sums_of_small_integers_are_exact(inner: int, parity: int) -> None:
    """Dask's are wrapped in every chunk, and wide only afterwards."""
    x = np.full((6, 8), 200, "uint8")
    a, b = da.from_array(x, chunks=(2, inner)), da.from_array(x.T, chunks=(inner, 3))
    with optimize(parity=parity):
        coded = computed(da.tensordot(a, b, axes=1))
    assert coded.dtype == np.dtype("uint64")
    np.testing.assert_array_equal(coded, x.astype("uint64") @ x.T.astype("uint64"))


@given(data=st.data())
@settings(max_examples=40)
def test_losses_are_decoded(data: st.DataObject) -> None:
    """With any chunks and one dtype, whatever the shapes."""
    rows, inner, columns = (data.draw(st.integers(1, 8)) for _ in range(3))
    dtype = data.draw(st.sampled_from(["float64", "float32", "complex128", "int64"]))
    vector = data.draw(st.sampled_from(["", "left", "right"]))
    stack = data.draw(st.sampled_from([(), (2,)])) if not vector else ()
    left = (*stack, rows, inner)[1 if vector == "left" else 0 :]
    right = (*stack, inner, columns)[: 1 if vector == "right" else None]
    a, b = (
        da.from_array(RNG.integers(-9, 9, shape).astype(dtype), chunks=3) for shape in (left, right)
    )
    for product in forms(a, b):
        plain = computed(product)
        with optimize(parity=1) as hook:
            if not explain(product, parity=1).rewritten:
                continue
            for lost in ({0}, {1}):
                value = computed_without(product, lambda spec, lost=lost: lost, hook)
                assert value.dtype == plain.dtype
                np.testing.assert_allclose(value, plain, atol=0 if dtype == "int64" else 1e-3)


@pytest.mark.parametrize(
    "code",
    [
        MDS(5, 4),
        MDS(6, 4),
        MDS(6, 4, field=PAIRED),
        Replication(8, 4),
        Product(MDS(3, 2), MDS(3, 2)),
        Polynomial(6, 2, 2),
    ],
    ids=repr,
)
def test_losses_under_a_code_that_was_asked_for(code: AbstractCode) -> None:
    for product in (A @ B, da.dot(A, B), A.rechunk((2, 6)) @ B.rechunk((6, 4))):
        plain = computed(product)
        with optimize(code=code) as hook:
            groups = specs(low_level(product, hook)).values()
            assert {type(spec.code) for spec in groups} == {type(code)}
            for lost in loss_sets(code):
                value = computed_without(product, lambda spec, lost=lost: lost, hook)
                np.testing.assert_allclose(value, plain, atol=1e-9)


@pytest.mark.parametrize(
    "code", [MDS(5, 4), MDS(6, 4), MDS(6, 4, field=PAIRED), Replication(8, 4)], ids=repr
)
@pytest.mark.parametrize("chunks", [(3, 1, 5, 2), (4, 4, 3), (1, 1, 1, 1, 7)], ids=repr)
def test_uneven_chunks_are_cut_back_to_their_sizes(
    code: AbstractCode, chunks: tuple[int, ...]
) -> None:
    """The graph does not say the sizes: mixtures carry them."""
    a = da.from_array(RNG.random((11, 6)), chunks=(chunks, 4))
    b = da.from_array(RNG.random((6, 5)), chunks=(4, 3))
    for product in (a @ b, da.dot(a, b), a.rechunk({1: 6}) @ b.rechunk({0: 6}), b.T @ a.T):
        plain = computed(product)
        with optimize(code=code) as hook:
            for lost in loss_sets(code):
                value = computed_without(
                    product,
                    lambda spec, lost=lost: [
                        share for share in sorted(lost) if share < spec.code.n_shares
                    ][: spec.code.n_shares - spec.code.recovery_threshold],
                    hook,
                )
                np.testing.assert_allclose(value, plain, atol=1e-9)


def coded_layers(product: da.Array, **options: Any) -> Any:
    hook = Optimization(parity=1, **options)
    return hook.rewritten(product.__dask_graph__(), product.__dask_keys__())[0]


def test_all_else_stays_as_it_was() -> None:
    product = A @ B
    later = (product + 1).sum(axis=0)
    before = later.__dask_graph__()
    after = coded_layers(later)
    after.validate()
    assert after.layers.keys() < before.layers.keys()
    assert len(before.layers) - len(after.layers) == 2, "the product and the first sum"
    changed = [name for name in after.layers if after.layers[name] is not before.layers[name]]
    assert changed == [product.name]
    assert set(flatten(product.__dask_keys__())) <= set(after.layers[product.name])


def test_wherever_products_stand() -> None:
    v = da.from_array(RNG.random(8), chunks=2)
    chain = ((A @ B) @ (A @ B).T + 1).sum(axis=1) @ v
    plain = computed(chain)
    found = explain(chain, parity=1)
    assert len(found.rewritten) == 3
    assert not found.left
    with optimize(parity=1):
        np.testing.assert_allclose(computed(chain), plain)
        persisted = (A @ B).persist(scheduler="sync")
        np.testing.assert_allclose(computed(persisted + 1), computed(A @ B) + 1)
        both = dask.compute(A @ B, (A @ B).T, scheduler="sync")
        np.testing.assert_allclose(both[0], both[1].T)
        (delayed,) = dask.compute((A @ B).to_delayed()[0, 0], scheduler="sync")
        np.testing.assert_allclose(delayed, computed(A @ B)[:2, :4])


def test_the_rest_is_culled_and_fused_as_ever() -> None:
    part = (A @ B)[:2]
    with optimize(parity=1) as hook:
        graph = low_level(part + 1, hook)
    # One stripe of four rows, of which one is wanted: its group stays whole, no other does.
    assert len(specs(graph)) == 2
    assert sum(1 for key in graph if key[0] == (A @ B).name) == 2


def test_every_share_task_of_a_group_survives_fusion() -> None:
    with optimize(parity=2) as hook:
        graph = low_level((A @ B).sum(), hook)
    for spec in specs(graph).values():
        assert set(spec.share_keys) <= graph.keys()


LEFT = {
    "dimensions": da.tensordot(A.reshape((2, 4, 6)), B, axes=1),
    "contracts axes": da.tensordot(A, A, axes=(0, 0)),
    "one output chunk": da.dot(A[0], A[0]),
}


@pytest.mark.parametrize("reason", LEFT)
def test_what_is_left_alone_and_why(reason: str) -> None:
    product = LEFT[reason]
    found = explain(product, parity=1)
    assert not found.rewritten
    assert [reason in entry.reason for entry in found.left] == [True]
    assert reason in repr(found)
    plain = computed(product)
    with optimize(parity=1):
        np.testing.assert_allclose(computed(product), plain)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (MDS(6, 4, field=COMPLEX), "field=REAL"),
        (LT(8, 4), "exist only decoded"),
        (MatDot(5, 2), "exist only decoded"),
    ],
)
def test_codes_that_do_not_fit_leave_the_product_alone(code: AbstractCode, reason: str) -> None:
    product = A.rechunk((2, 6)) @ B.rechunk((6, 4))
    (left,) = explain(product, code=code).left
    assert reason in left.reason
    plain = computed(product)
    with optimize(code=code):
        np.testing.assert_array_equal(computed(product), plain)


def test_without_a_cluster_nothing_is_coded_by_default() -> None:
    (left,) = explain(A @ B).left
    assert "no cluster" in left.reason
    with dask.config.set(array_optimize=optimize_graph):
        np.testing.assert_allclose(computed(A @ B), computed(A) @ computed(B))


def test_a_wanted_intermediate_stays() -> None:
    product = A @ B
    graph = product.__dask_graph__()
    (name,) = (n for n in graph.layers if n.startswith("matmul"))
    hook = Optimization(parity=1)
    keys = [*flatten(product.__dask_keys__()), (name, 0, 0, 0)]
    assert (name, 0, 0, 0) in hook(graph, keys)
    assert not explain(da.ones(3)).left


def test_annotations_are_kept_and_must_agree() -> None:
    with dask.annotate(priority=3):
        product = A @ B
    assert coded_layers(product).layers[product.name].annotations == {"priority": 3}
    graph = product.__dask_graph__()
    next(iter(graph.layers.values())).annotations = {"priority": 4}
    (left,) = explain(product, parity=1).left
    assert "annotations" in left.reason


def test_chunks_that_cannot_be_mixed_are_computed_as_ever() -> None:
    """What the graph does not say is found out by the tasks."""
    y = RNG.random((4, 3))
    nan = np.where(np.eye(8, 4) > 0, np.nan, 1.0)
    cases = [
        da.from_array(nan, chunks=(2, 4)),
        da.from_array(nan, chunks=(2, 2)),
        da.from_array(np.eye(8, 4, dtype=bool), chunks=(2, 2)),
        da.from_array(np.eye(8, 4, dtype=bool), chunks=(2, 4)),
        da.from_array(np.eye(8, 4).astype(object), chunks=(2, 4)),
        da.from_array(np.eye(8, 4, dtype="i2"), chunks=(2, 4)),
        da.ma.masked_equal(da.from_array(np.eye(8, 4), chunks=(2, 2)), 0),
    ]
    for a in cases:
        # NumPy's matmul loses its way in the masks of two matrices; tensordot does not.
        masked = isinstance(a._meta, np.ma.MaskedArray)
        for product in forms(a, da.from_array(y, chunks=(a.chunks[1], 3)))[1 if masked else 0 :]:
            plain = computed(product)
            with optimize(parity=1):
                coded = computed(product)
            assert type(coded) is type(plain)
            assert coded.dtype == plain.dtype
            np.testing.assert_array_equal(np.ma.getmaskarray(coded), np.ma.getmaskarray(plain))
            np.testing.assert_allclose(coded.astype(float), plain.astype(float))


def test_unknown_chunk_sizes_are_no_obstacle() -> None:
    a = A[A[:, 0] > -1]
    with optimize(parity=1) as hook:
        product = a @ B
        assert explain(product, parity=1).rewritten
        value = computed_without(product, lambda spec: {0}, hook)
    np.testing.assert_allclose(value, computed(A) @ computed(B))


def test_the_hook_is_a_value() -> None:
    with optimize(parity=2, tolerance=1e-7) as hook:
        assert dask.config.get("array_optimize") is hook
        copy = pickle.loads(pickle.dumps(hook))
        assert copy == hook
        assert hash(copy) == hash(hook)
        assert copy != Optimization(parity=1)
    assert dask.config.get("array_optimize", None) is None
    with optimize(code=MDS(5, 4)) as hook:
        assert pickle.loads(pickle.dumps(hook)) == hook
    assert pickle.loads(pickle.dumps(optimize_graph)) == optimize_graph


def test_keys_are_deterministic_and_tell_codes_apart() -> None:
    product = A @ B
    keys = [
        set(low_level(product, Optimization(parity=parity, tolerance=tolerance)))
        for parity, tolerance in ((1, None), (1, None), (2, None), (1, 1e-3))
    ]
    assert keys[0] == keys[1]
    shared = set(flatten(product.__dask_keys__())) | set(dict(A.dask)) | set(dict(B.dask))
    for other in keys[2:]:
        assert keys[0] & other <= shared


def test_findings_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dask_coded"), optimize(parity=1):
        computed(A @ B + da.dot(A[0], A[0]))
    text = caplog.text
    assert "Coded matmul-" in text
    assert "Left tensordot-" in text


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"code": MDS(4, 3), "parity": 1}, ParameterError),
        ({"parity": -1}, ParameterError),
        ({"tolerance": -1.0}, ParameterError),
        ({"code": MDS(4, 3, field=PrimeField(257))}, UnsupportedOperationError),
    ],
)
def test_impossible_settings_are_refused_on_entering(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error), optimize(**options):
        pass
    with pytest.raises(error):
        explain(A @ B, **options)


def test_graphs_that_were_optimised_before_pass_through() -> None:
    product = A @ B
    low = dask_optimize(product.__dask_graph__(), product.__dask_keys__())
    assert Optimization(parity=1)(low, product.__dask_keys__()).keys() == low.keys()
    assert repr(explain(dask.delayed(1))) == "no product of Dask's in this graph"
    with pytest.raises(ParameterError, match="got int"):
        explain(3)


@pytest.mark.cluster
def test_on_a_cluster_for_good() -> None:
    cluster = LocalCluster(
        n_workers=6, threads_per_worker=1, processes=False, dashboard_address=":0"
    )
    expected = computed(A) @ computed(B)
    with cluster, Client(cluster) as client:
        with optimize() as hook:
            assert hook.workers == 6
            np.testing.assert_allclose((A @ B).compute(), expected)
        first = report(client).totals["groups"]
        assert first == 2
        with dask.config.set(array_optimize=optimize_graph):
            assert pickle.loads(pickle.dumps(optimize_graph)).workers == 6
            np.testing.assert_allclose((A @ B + 1).compute(), expected + 1)
            assert report(client).totals["groups"] == first + 2
            uneven = da.from_array(RNG.random((7, 4)), chunks=(3, 4))
            np.testing.assert_allclose(
                (uneven @ uneven.T).compute(), computed(uneven) @ computed(uneven).T
            )
            assert not any(group["erased"] for group in report(client).groups)


VERBS = [
    "coded_matmul(x, x, parity=1)",
    "plan_matmul(x, x)",
    "encode(x)",
    "explain(x)",
    "optimize().__enter__()",
    "optimize_graph(None, [])",
]


def test_array_expressions_are_refused_by_every_verb() -> None:
    lines = [
        "import dask; dask.config.set({'array.query-planning': True})",
        "import numpy as np",
        "from dask_coded.array import *",
        "from dask_coded.errors import UnsupportedOperationError",
        "x = np.ones((4, 4))",
    ]
    for verb in VERBS:
        lines += [
            f"try: {verb}",
            "except UnsupportedOperationError as error: print(error)",
        ]
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    said = run.stdout.splitlines()
    assert len(said) == len(VERBS)
    assert all(line.startswith("Dask's array expressions") for line in said)
