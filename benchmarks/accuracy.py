"""How many digits decoding keeps, over thousands of loss patterns.

    python benchmarks/accuracy.py [--quick] [--picture accuracy.png]

Each loss pattern removes as many shares as the code tolerates: random sets, and every run of
neighbours (by index and around the ring). Results are exact products rounded once to float64, so
what is printed is the code's doing: the relative error (Frobenius norm) of the outputs.

`worst of 150` is the mean, over disjoint batches of 150 random patterns, of the worst error in a
batch. Random parity has a heavy tail (the chance of an error above x falls as 1/x, with paired
coefficients as 1/x**2), so the worst grows with the number of patterns tried; both are printed to
allow comparison with shorter experiments.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from tqdm import tqdm  # type: ignore[import-untyped]

from dask_coded.codes import (
    MDS,
    AbstractCode,
    AbstractLinearCode,
    Lagrange,
    MatDot,
    Polynomial,
)
from dask_coded.fields import PAIRED, REAL, Field
from dask_coded.testing import loss_patterns
from dask_coded.typing import Array


@dataclass(frozen=True)
class Vandermonde(AbstractLinearCode):
    """What not to use: powers of equispaced real points."""

    n_shares: int
    k: int
    field: Field = REAL

    @property
    def recovery_threshold(self) -> int:
        return self.k

    def generator(self, operand: int = 0) -> Array:
        return np.vander(np.linspace(-1, 1, self.n_shares), self.k, increasing=True)


@dataclass(frozen=True)
class Cauchy(AbstractLinearCode):
    """What not to use for three parities or more: a real Cauchy matrix under the identity."""

    n_shares: int
    k: int
    field: Field = REAL

    @property
    def recovery_threshold(self) -> int:
        return self.k

    def generator(self, operand: int = 0) -> Array:
        spare = self.n_shares - self.k
        parity = 1 / (np.arange(spare)[:, None] + self.k + 0.5 - np.arange(self.k)[None])
        return np.concatenate(
            [np.eye(self.k), parity / np.linalg.norm(parity, axis=1, keepdims=True)]
        )


Losses: TypeAlias = Sequence[tuple[int, ...]]


def errors(code: AbstractCode, losses: Losses, label: str = "") -> npt.NDArray[np.float64]:
    """Relative error of the outputs for each loss pattern."""
    responses: Any = code.responses()
    targets: Any = code.targets()
    stream = np.random.default_rng(0)
    wide: Any = np.longdouble
    truth: Any = stream.standard_normal((responses.shape[1], 16))
    if code.field.dtype.kind == "c":
        # Paired blocks are complex ones whose halves lie on top of each other.
        wide = np.clongdouble
        truth = truth + 1j * stream.standard_normal(truth.shape)
    results = (responses.astype(wide) @ truth.astype(wide)).astype(truth.dtype)
    outputs = targets @ truth
    everyone = set(range(code.n_shares))
    found = []
    for lost in tqdm(losses, desc=label, leave=False, disable=None):
        decoder = code.decoder(everyone - set(lost))
        weights: Any = decoder.weights
        decoded = weights @ results[list(decoder.shares)]
        found.append(np.linalg.norm(decoded - outputs) / np.linalg.norm(outputs))
    return np.array(found)


def row(label: str, code: AbstractCode, n_random: int, goal: float | None = None) -> None:
    lost = code.n_shares - code.recovery_threshold
    losses = list(loss_patterns(code, lost, n_random))
    runs = len(losses) - n_random
    found = errors(code, losses, label)
    scattered = found[runs:]
    batches = scattered[: len(scattered) // 150 * 150].reshape(-1, 150)
    typical = f"{batches.max(axis=1).mean():.1e}" if len(batches) else "-"
    verdict = "" if goal is None else ("reached" if found.max() <= goal else "missed")
    print(
        f"{label:36} {np.median(scattered):9.1e} {typical:>13} {scattered.max():9.1e} "
        f"{found[:runs].max():9.1e} {'' if goal is None else f'{goal:.0e}':>7} {verdict}",
        flush=True,
    )


def table(n_random: int) -> None:
    print(f"relative error of float64 outputs, {n_random} random patterns and every run\n")
    print(
        f"{'code, k + losses':36} {'median':>9} {'worst of 150':>13} {'worst':>9} {'run':>9} "
        f"{'goal':>7}"
    )
    for k, spare, goal in ((28, 4, 8e-14), (50, 10, 4e-13), (90, 10, 9e-14)):
        n = k + spare
        row(f"MDS {k}+{spare} paired", MDS(n, k, field=PAIRED), n_random, goal)
        row(f"MDS {k}+{spare} real, dft", MDS(n, k, parity="dft"), n_random, goal)
        row(f"MDS {k}+{spare} real, gaussian", MDS(n, k, parity="gaussian"), n_random, goal)
    for rows, columns, spare, goal in ((7, 7, 4, 1e-13), (9, 10, 8, 8e-13)):
        label = f"Polynomial {rows}x{columns}+{spare}"
        n = rows * columns + spare
        row(f"{label} paired", Polynomial(n, rows, columns, field=PAIRED), n_random, goal)
        row(f"{label} real, random", Polynomial(n, rows, columns), n_random, goal)
        points = Polynomial(n, rows, columns, basis="points")
        row(f"{label} real, points", points, n_random, goal)
    row("MatDot p=16, 31+4", MatDot(35, 16), n_random, 1e-12)
    row("Lagrange k=16 degree 2, 31+4", Lagrange(35, 16, 2), n_random)
    few = max(50, n_random // 10)
    row("Vandermonde 28+4 (known to fail)", Vandermonde(32, 28), few)
    row("Cauchy 28+4 (known to fail)", Cauchy(32, 28), few)


def surplus(n_random: int) -> None:
    """Amplification of MDS 50+8 when results beyond the threshold have arrived."""
    print(f"\namplification of MDS 50+8 with surplus shares, {n_random} random patterns")
    print(f"{'':17} {'row sum of |D|':>30} {'row norm of D':>30}")
    print(f"{'surplus':>8} {'':8}" + f" {'median':>10} {'99.9%':>9} {'worst':>9}" * 2)
    everyone = set(range(58))
    for field in (REAL, PAIRED):
        code = MDS(58, 50, field=field)
        for extra in (0, 1, 2, 3):
            stream = np.random.default_rng(extra)
            sums, norms = [], []
            for _ in range(n_random):
                lost = stream.choice(58, 8 - extra, replace=False).tolist()
                decoder = code.decoder(everyone - set(lost))
                sums.append(decoder.amplification)
                norms.append(float(np.linalg.norm(decoder.weights, axis=1).max()))
            cells = "".join(
                f" {np.median(sizes):10.1f} {np.quantile(sizes, 0.999):9.1f} {max(sizes):9.1f}"
                for sizes in (sums, norms)
            )
            print(f"{extra:8} {field.name:8}{cells}", flush=True)


def picture(path: str, n_random: int) -> None:
    """Error against the number of losses, per family, all with 28 blocks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    good: dict[str, Callable[[int], AbstractCode]] = {
        "MDS, paired": lambda s: MDS(28 + s, 28, field=PAIRED),
        "MDS, real": lambda s: MDS(28 + s, 28),
        "Polynomial 4 x 7, paired": lambda s: Polynomial(28 + s, 4, 7, field=PAIRED),
        "Polynomial 4 x 7, real": lambda s: Polynomial(28 + s, 4, 7),
        "MatDot p = 14": lambda s: MatDot(27 + s, 14),
    }
    bad: dict[str, Callable[[int], AbstractCode]] = {
        "Vandermonde": lambda s: Vandermonde(28 + s, 28),
        "Cauchy": lambda s: Cauchy(28 + s, 28),
    }
    spares = range(1, 11)
    figure, axes = plt.subplots(1, 2, figsize=(11, 6), sharey=True, layout="constrained")
    styles = zip((good | bad).items(), "osv^D*X", range(7), strict=True)
    for (label, family), marker, color in styles:
        found = [
            errors(family(s), list(loss_patterns(family(s), s, n_random)), f"{label} {s}")
            for s in spares
        ]
        # An error of nothing at all would have no place on a logarithmic axis.
        medians = [max(float(np.median(each)), 1e-17) for each in found]
        worsts = [max(float(each.max()), 1e-17) for each in found]
        for axis, values in zip(axes, (medians, worsts), strict=True):
            axis.semilogy(
                spares,
                values,
                "--" if label in bad else "-",
                marker=marker,
                color=f"C{color}",
                label=f"{label} (known to fail)" if label in bad else label,
            )
    for axis, title in zip(axes, ("median", "worst"), strict=True):
        axis.set_title(f"{title} loss pattern")
        axis.set_xlabel("shares lost (as many as there are parities)")
        axis.set_xticks(list(spares))
        axis.axhline(2.0**-53, color="grey", linewidth=0.8)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("relative error of float64 outputs")
    axes[0].set_ylim(1e-17, 10)
    axes[0].text(10, 2.0**-53, "one rounding", color="grey", fontsize=8, ha="right", va="bottom")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(f"28 blocks: {n_random} random loss patterns and every run of neighbours")
    figure.savefig(path, dpi=120)
    print(f"\npicture: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few patterns, for a first look")
    parser.add_argument("--picture", default=None, help="also draw error against losses here")
    options = parser.parse_args()
    n_random = 150 if options.quick else 2100
    table(n_random)
    surplus(n_random)
    if options.picture:
        picture(options.picture, 20 if options.quick else 300)


if __name__ == "__main__":
    main()
