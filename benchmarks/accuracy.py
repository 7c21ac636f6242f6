"""How many digits decoding keeps, over thousands of loss patterns.

    python benchmarks/accuracy.py [--quick] [--picture accuracy.png]

Each loss pattern removes as many shares as the code tolerates: random sets, and every run of
neighbours (by index and around the ring). Results are exact products rounded once to float64, so
what is printed is the code's doing: the relative error (Frobenius norm) of the outputs.

`worst of 150` is the mean, over disjoint batches of 150 patterns, of the worst error in a batch.
Random parity has a heavy tail (the chance of an error above x falls as 1/x), so the worst grows
with the number of patterns tried; both are printed to allow comparison with shorter experiments.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from dask_coded.codes import (
    MDS,
    AbstractCode,
    AbstractLinearCode,
    Lagrange,
    MatDot,
    Polynomial,
)
from dask_coded.fields import REAL, Field
from dask_coded.testing import loss_patterns
from dask_coded.typing import Array


@dataclass(frozen=True)
class Vandermonde(AbstractLinearCode):
    """What not to use: powers of equispaced real points."""

    n_shares: int
    k: int
    field: Field = REAL
    name = "vandermonde"

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
    name = "cauchy"

    @property
    def recovery_threshold(self) -> int:
        return self.k

    def generator(self, operand: int = 0) -> Array:
        spare = self.n_shares - self.k
        parity = 1 / (np.arange(spare)[:, None] + self.k + 0.5 - np.arange(self.k)[None])
        return np.concatenate(
            [np.eye(self.k), parity / np.linalg.norm(parity, axis=1, keepdims=True)]
        )


def errors(code: AbstractCode, losses: Sequence[tuple[int, ...]], label: str = "") -> np.ndarray:
    """Relative error of the outputs for each loss pattern."""
    responses, targets = code.responses(), code.targets()
    truth = np.random.default_rng(0).standard_normal((responses.shape[1], 16))
    wide = np.longdouble
    results = np.asarray(responses.astype(wide) @ truth.astype(wide), dtype=np.float64)
    outputs = targets @ truth
    everyone = set(range(code.n_shares))
    found = []
    for lost in tqdm(losses, desc=label, leave=False, disable=None):
        decoder = code.decoder(everyone - set(lost))
        decoded = decoder.weights @ results[list(decoder.shares)]
        found.append(np.linalg.norm(decoded - outputs) / np.linalg.norm(outputs))
    return np.array(found)


def row(label: str, code: AbstractCode, n_random: int, goal: float | None) -> None:
    lost = code.n_shares - code.recovery_threshold
    losses = list(loss_patterns(code, lost, n_random))
    runs = len(losses) - n_random
    found = errors(code, losses, label)
    scattered = found[runs:]
    batches = scattered[: len(scattered) // 150 * 150].reshape(-1, 150)
    typical = f"{batches.max(axis=1).mean():.1e}" if len(batches) else "-"
    verdict = "" if goal is None else ("reached" if found.max() <= goal else "missed")
    print(
        f"{label:34} {np.median(scattered):9.1e} {typical:>13} {scattered.max():9.1e} "
        f"{found[:runs].max():9.1e} {'' if goal is None else f'{goal:.0e}':>7} {verdict}",
        flush=True,
    )


def table(n_random: int) -> None:
    print(f"relative error of float64 outputs, {n_random} random patterns and every run\n")
    print(
        f"{'code, k + losses':34} {'median':>9} {'worst of 150':>13} {'worst':>9} {'run':>9} "
        f"{'goal':>7}"
    )
    for k, spare, goal in ((28, 4, 8e-14), (50, 10, 4e-13), (90, 10, 9e-14)):
        n_shares = k + spare
        row(f"MDS {k}+{spare} (auto)", MDS(n_shares, k), n_random, goal)
        row(f"MDS {k}+{spare} dft", MDS(n_shares, k, parity="dft"), n_random, None)
        row(f"MDS {k}+{spare} gaussian", MDS(n_shares, k, parity="gaussian"), n_random, None)
    for m, n, spare, goal in ((7, 7, 4, 1e-13), (9, 10, 8, 8e-13)):
        n_shares = m * n + spare
        row(f"Polynomial {m}x{n}+{spare} (auto)", Polynomial(n_shares, m, n), n_random, goal)
        points = Polynomial(n_shares, m, n, basis="points")
        row(f"Polynomial {m}x{n}+{spare} points", points, n_random, None)
    row("MatDot p=16, 31+4", MatDot(35, 16), n_random, 1e-12)
    row("Lagrange k=16 degree 2, 31+4", Lagrange(35, 16, 2), n_random, None)
    few = max(50, n_random // 10)
    row("Vandermonde 28+4 (known to fail)", Vandermonde(32, 28), few, None)
    row("Cauchy 28+4 (known to fail)", Cauchy(32, 28), few, None)


def surplus(n_random: int) -> None:
    """Amplification of MDS 50+8 when results beyond the threshold have arrived."""
    code = MDS(58, 50)
    print(f"\namplification of MDS 50+8 with surplus shares, {n_random} random patterns")
    print(
        f"{'surplus':>8} {'row sum: median':>16} {'worst':>9} {'row norm: median':>17} {'worst':>9}"
    )
    everyone = set(range(58))
    for extra in (0, 1, 2, 3):
        stream = np.random.default_rng(extra)
        sums, norms = [], []
        for _ in range(n_random):
            lost = stream.choice(58, 8 - extra, replace=False).tolist()
            decoder = code.decoder(everyone - set(lost))
            sums.append(decoder.amplification)
            norms.append(float(np.linalg.norm(decoder.weights, axis=1).max()))
        print(
            f"{extra:8} {np.median(sums):16.1f} {max(sums):9.1f} {np.median(norms):17.1f} "
            f"{max(norms):9.1f}"
        )


def picture(path: str, n_random: int) -> None:
    """Error against the number of losses, per family, all with 28 blocks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    families = {
        "MDS (auto)": lambda s: MDS(28 + s, 28),
        "Polynomial 4x7": lambda s: Polynomial(28 + s, 4, 7),
        "MatDot p=14": lambda s: MatDot(27 + s, 14),
        "Vandermonde": lambda s: Vandermonde(28 + s, 28),
        "Cauchy": lambda s: Cauchy(28 + s, 28),
    }
    spares = range(1, 11)
    for label, family in families.items():
        worst, median = [], []
        for spare in spares:
            code = family(spare)
            found = errors(code, list(loss_patterns(code, spare, n_random)), f"{label} {spare}")
            worst.append(found.max())
            median.append(np.median(found))
        style = "--" if label in ("Vandermonde", "Cauchy") else "-"
        (line,) = axes.semilogy(spares, worst, style, marker="o", label=f"{label}: worst")
        axes.semilogy(spares, median, ":", color=line.get_color())
    axes.set_xlabel("shares lost = parity shares")
    axes.set_ylabel("relative error of float64 outputs")
    axes.set_title("28 blocks: worst (marked) and median (dotted) error over loss patterns")
    axes.set_ylim(1e-16, 10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    print(f"\npicture: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few patterns, for a first look")
    parser.add_argument("--picture", default=None, help="also draw error against losses here")
    options = parser.parse_args()
    n_random = 150 if options.quick else 2100
    table(n_random)
    surplus(n_random)
    if options.picture:
        picture(options.picture, 20 if options.quick else 200)


if __name__ == "__main__":
    main()
