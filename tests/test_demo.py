"""The demo: its parts against NumPy and SciPy, and the whole as a stranger would start it."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import matplotlib.image
import numpy as np
import psutil
import pytest
import scipy.linalg

from dask_coded.demo import main
from dask_coded.demo._arms import Run
from dask_coded.demo._check import Check
from dask_coded.demo._patches import distinct_patches, photograph_patches
from dask_coded.demo._power import Eigenpairs, block_power, subspace_angle
from dask_coded.demo._story import Story
from dask_coded.demo._table import iterations_table, medians_table
from dask_coded.errors import ParameterError

RNG = np.random.default_rng(0)

# ---------------------------------------------------------------------- patches


def few_colours() -> np.ndarray:
    """Two small photographs in which some patches occur again: one row is repeated."""
    rng = np.random.default_rng(1)
    photographs = rng.integers(0, 256, size=(2, 12, 13, 3), dtype=np.uint8)
    photographs[1, :9] = photographs[0, 3:]
    return photographs


def by_hand(photographs: np.ndarray) -> np.ndarray:
    seen: dict[bytes, np.ndarray] = {}
    for photograph in photographs:
        height, width, _ = photograph.shape
        for y in range(height - 7):
            for x in range(width - 7):
                patch = photograph[y : y + 8, x : x + 8].ravel()
                seen.setdefault(patch.tobytes(), patch)
    return np.array(list(seen.values()))


def test_patches_are_the_distinct_ones_in_order_of_occurrence() -> None:
    photographs = few_colours()
    expected = by_hand(photographs)
    assert len(expected) < 2 * 5 * 6
    np.testing.assert_array_equal(
        distinct_patches(photographs).pixels(slice(None)), expected, strict=True
    )


@pytest.mark.parametrize("n_blocks", [1, 4, 7])
def test_matrix_is_the_centred_patches(n_blocks: int) -> None:
    patches = distinct_patches(few_colours())
    pixels = by_hand(few_colours()) / 255
    matrix = patches.matrix(n_blocks)
    assert matrix.numblocks == (n_blocks, 1)
    assert max(matrix.chunks[0]) - min(matrix.chunks[0]) <= 1
    np.testing.assert_allclose(
        matrix.compute(scheduler="sync"), pixels - pixels.mean(axis=0), atol=1e-6
    )


def test_covariance_is_that_of_numpy() -> None:
    patches = distinct_patches(few_colours())
    pixels = by_hand(few_colours()) / 255
    expected = np.cov(pixels, rowvar=False, bias=True) * len(pixels)
    np.testing.assert_allclose(patches.covariance(), expected, rtol=1e-10, atol=1e-10)


def test_the_photographs_have_as_many_patches_as_we_say() -> None:
    assert photograph_patches().shape == (531_611, 192)
    assert photograph_patches(every=16).shape == (33_226, 192)


# ---------------------------------------------------------------------- arithmetic


def test_block_power_finds_what_lapack_finds() -> None:
    a = RNG.standard_normal((60, 20)) * 0.7 ** np.arange(20)
    found = block_power(lambda v: a.T @ (a @ v), RNG.standard_normal((20, 6)), 40).leading(3)
    _, singular, right = np.linalg.svd(a)
    np.testing.assert_allclose(found.values, singular[:3] ** 2, rtol=1e-10)
    np.testing.assert_allclose(np.abs(np.sum(right[:3].T * found.vectors, axis=0)), 1, rtol=1e-8)


def test_block_power_multiplies_so_often() -> None:
    calls = []
    block_power(lambda v: calls.append(v) or v, np.eye(5, 2), 7)
    assert len(calls) == 7


@pytest.mark.parametrize("tilt", [0.0, 1e-6, 0.3, np.pi / 2])
def test_angle_is_that_of_scipy(tilt: float) -> None:
    basis = np.linalg.qr(RNG.standard_normal((9, 4))).Q
    left = basis[:, :3]
    right = (
        np.column_stack([left[:, :2], np.cos(tilt) * left[:, 2] + np.sin(tilt) * basis[:, 3]])
        @ np.linalg.qr(RNG.standard_normal((3, 3))).Q
    )
    expected = scipy.linalg.subspace_angles(left, right).max()
    assert subspace_angle(left, right) == pytest.approx(expected, abs=1e-7)


def test_check_sees_a_wrong_value_and_a_wrong_vector() -> None:
    right = Eigenpairs(np.array([3.0, 2.0]), np.eye(4, 2))
    assert Check.of(right, right).passed
    wrong = Check.of(Eigenpairs(right.values * [1, 1.001], right.vectors), right)
    assert not wrong.passed
    assert "WRONG" in str(wrong)
    assert not Check.of(Eigenpairs(right.values, np.eye(4)[:, [0, 2]]), right).passed


# ---------------------------------------------------------------------- what is shown


def test_tables_say_where_a_run_was_stuck() -> None:
    story = Story(n_workers=4, n_iterations=3)
    coded = Run((0.5, 0.5, 0.5), None, None)
    plain = Run((0.25, 1.0), 40.0, None)
    rows = [line.split() for line in iterations_table(story, coded, plain).splitlines()]
    assert rows[1] == ["1", "0.50", "s", "0.25", "s"]
    assert rows[2][:5] == ["2", "0.50", "s", "1.00", "s"]
    assert rows[2][-4:] == ["becomes", "10", "times", "slower"]
    assert "stuck, given up after 40 s" in " ".join(rows[3])
    assert rows[3][-1] == "freezes"
    medians = medians_table(story, coded, plain)
    assert "plain Dask is 2.0 times faster" in medians
    assert "coded is 2.0 times faster" in medians
    assert "never ends" in medians


def test_a_story_without_faults_has_one_phase() -> None:
    story = Story(faults=False)
    assert [list(iterations) for _, iterations in story.phases()] == [list(range(20))]
    assert not story.trace().events
    assert not any(map(story.event, range(20)))


def test_plain_dask_gets_as_long_as_the_coded_run_within_limits() -> None:
    story = Story(plain_limits=(30.0, 45.0))
    assert [story.plain_limit(seconds) for seconds in (1, 40, 300)] == [30, 40, 45]


# ---------------------------------------------------------------------- the command


def test_too_few_workers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ParameterError, match="--workers 4 or more"):
        Story(n_workers=3)
    assert main(["demo", "--quick", "--workers", "3"]) == 2
    assert "--workers 4 or more" in capsys.readouterr().err


def test_missing_packages_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert main(["demo"]) == 2
    assert "-m pip install scikit-learn tqdm\n" in capsys.readouterr().err


COMMAND = ["-m", "dask_coded"]
#: The same, but plain Dask is given all the time in the world, and never ends.
PATIENT = """
import sys
from dask_coded.demo import main
from dask_coded.demo._story import Story
Story.plain_limit = lambda self, coded_seconds: 3600.0
sys.exit(main())
"""


def start(
    *options: str, token: str = "", command: Sequence[str] = COMMAND, **kwargs: object
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command, "demo", "--quick", *options],
        env=os.environ | {"DASK_CODED_TEST_TOKEN": token},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background ignores Ctrl-C, and so would its children.
        preexec_fn=heed_interrupts,
        **kwargs,  # type: ignore[call-overload]
    )


def heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def carriers(token: str) -> list[psutil.Process]:
    """Processes that were started with this token in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DASK_CODED_TEST_TOKEN") == token:
                found.append(process)
        except psutil.Error:
            continue
    return found


def interrupted(demo: subprocess.Popen[str]) -> str:
    """Its last words. Python drops a Ctrl-C that comes while it destroys an object: again, then."""
    for _ in range(3):
        demo.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return demo.communicate(timeout=60)[0]
    demo.kill()
    return "it does not end"


def alive(token: str) -> list[psutil.Process]:
    """Those of them that do not go away."""
    return list(psutil.wait_procs(carriers(token), timeout=60)[1])


@pytest.mark.cluster
@pytest.mark.timeout(660)
@pytest.mark.skipif(os.name != "posix", reason="emulated clusters need POSIX signals")
def test_demo_finds_the_components_and_draws_them(tmp_path: Path) -> None:
    token = uuid.uuid4().hex
    demo = start("--out", str(tmp_path), token=token)
    output, _ = demo.communicate(timeout=600)
    assert demo.returncode == 0, output
    assert "33,226 x 192" in output
    assert "coded, against numpy.linalg.eigh: right" in output
    assert "groups:" in output
    picture = matplotlib.image.imread(tmp_path / "dask_coded_demo.png")
    assert picture.shape[0] > 500
    assert np.ptp(picture) > 0.5
    assert not alive(token)


@pytest.mark.cluster
@pytest.mark.skipif(os.name != "posix", reason="emulated clusters need POSIX signals")
@pytest.mark.parametrize("line", ["dask_coded, any 3 of 5", "plain Dask, given up"])
def test_interrupt_leaves_no_process_behind(tmp_path: Path, line: str) -> None:
    token = uuid.uuid4().hex
    demo = start("--out", str(tmp_path), token=token, command=["-c", PATIENT])
    assert demo.stdout is not None
    said = ""
    while line not in said:
        news = demo.stdout.readline()
        assert news, said
        said += news
    # The demo itself, the process that starts the others, the scheduler and some workers.
    while len(carriers(token)) < 5:
        assert demo.poll() is None, said
    output = interrupted(demo)
    assert demo.returncode == 130, output
    assert "interrupted" in output
    assert not alive(token)
