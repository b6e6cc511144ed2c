"""Sweeps whose truth is known: arms that are straight lines over log2 of labels and base groups, and cross."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from math import log2
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dark_halo_scope.bases.ledger import Ledger
from dark_halo_scope.bases.manifest import Manifest, list_files
from dark_halo_scope.bases.report.arms import ALONE, ARMS, BASE, FULL, HEAD, PROBE, TUNED
from dark_halo_scope.bases.work import Work

HOUR_S = 3600.0
STARTED = "2025-01-01T00:00:00+00:00"


def truth(mode: str, n_base: int, budget: int) -> float:
    """Mean over all groups there might be."""
    base, labels = 0.45 + 0.06 * log2(n_base), log2(budget / 8)
    return {
        BASE: base,
        ALONE: 0.38 + 0.08 * labels,
        FULL: base + 0.01 + 0.02 * labels,
        TUNED: base - 0.02 + 0.03 * labels,
        HEAD: base + 0.012 * labels,
        PROBE: base - 0.01 + 0.028 * labels,
    }[mode]


def crossing_of_labels(mode: str, n_base: int) -> float:
    """Labels at which training on the target alone overtakes an arm, by the truth."""
    start, slope = truth(mode, n_base, 8), truth(mode, n_base, 16) - truth(mode, n_base, 8)
    return float(8 * 2 ** ((start - 0.38) / (0.08 - slope)))


@dataclass(frozen=True)
class Design:
    """What is varied."""

    n_groups: int = 8
    n_base: Sequence[int] = (2, 8)
    budgets: Sequence[int] = (8, 32, 128)
    modes: Sequence[str] = (FULL, TUNED, ALONE, BASE)
    seeds: Sequence[int] = (1, 2)

    @property
    def groups(self) -> list[str]:
        return [f"P{number:02d}" for number in range(1, self.n_groups + 1)]

    def labels(self) -> Iterator[dict]:
        """Of every job, as a sweep asks for them: an arm without labels at every budget, too."""
        for mode, n_base, budget, group, seed in product(
            self.modes, self.n_base, self.budgets, self.groups, self.seeds
        ):
            fold = int(group[1:]) % 4
            yield {
                "mode": mode, "target": group, "n_base": n_base, "replicate": 0, "fold": fold,
                "budget": budget, "seed": seed,
            }  # fmt: skip


def cell_of(mode: str, n_base: int, budget: int, group: str, seed: int) -> tuple:
    """What tells one fine-tuning from another."""
    return mode, 0 if mode == ALONE else n_base, 0 if mode == BASE else budget, group, 0 if mode == BASE else seed


def draw(design: Design, scatter: float = 0.03, noise: float = 0.01, rng_seed: int = 0) -> dict[tuple, float]:
    """What every fine-tuning reaches, and every base alone, by `cell_of`.

    Groups differ in how hard they are, which all arms share, and in how well each arm does on them (`scatter`).
    """
    rng = np.random.default_rng(rng_seed)
    hard = rng.normal(0, 0.06, design.n_groups)
    suited = {mode: rng.normal(0, scatter, design.n_groups) for mode in ARMS}
    values = {}
    for mode, n_base, budget, seed in product(
        dict.fromkeys((*design.modes, BASE)), design.n_base, design.budgets, design.seeds
    ):
        for k, group in enumerate(design.groups):
            cell = cell_of(mode, n_base, budget, group, seed)
            if cell not in values:
                values[cell] = truth(mode, n_base, budget) + hard[k] + suited[mode][k] + rng.normal(0, noise)
    return values


def write_sweep(folder: Path, design: Design, values: dict[tuple, float], failing: Iterable[tuple] = ()) -> Path:
    """A sweep folder beside its store ``folder/store``; `failing` names mode, base groups, budget, group and seed."""
    failing, written, ledger = set(failing), set(), Ledger(folder / "sweep", "python train.py -m ...")
    for labels in design.labels():
        job = tuple(labels[k] for k in ("mode", "n_base", "budget", "target", "seed"))
        cell, base = cell_of(*job), None if labels["mode"] == ALONE else key("base", labels["n_base"], labels["fold"])
        words = tuple(f"{name}={labels[name]}" for name in ("mode", "n_base", "budget", "target", "seed"))
        work = Work(key(*cell), base, None, dict, words, labels)
        if job in failing:
            ledger.note(work, "failed", "the loss is no number")
            continue
        ledger.note(work, "done")
        if cell not in written:
            written.add(cell)
            before = values[cell_of(BASE, *job[1:])] if base else None
            write_tuning(folder / "store" / "tunings" / work.key, *job[:3:2], values[cell], before)
        if base is not None and not (folder / "store" / base).exists():
            (folder / "store" / base).mkdir()
            Manifest(base, STARTED, HOUR_S, {}, {}, {}).write(folder / "store" / base)
    ledger.write()
    return folder / "sweep"


def write_tuning(
    folder: Path, mode: str, budget: int, value: float | None, before: float | None, first_row: int = 0
) -> None:
    """A stored fine-tuning that reached a value, from a base model that had another one."""
    n_labels = 0 if mode == BASE else budget
    metrics = {
        "test": {"accuracy": 0.5, "macro_f1": value},
        "budget": {"train": n_labels - n_labels // 4, "val": n_labels // 4},
    }
    if before is not None:
        metrics["base"] = {"accuracy": 0.4, "macro_f1": before}
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"row": np.arange(first_row, first_row + 4)}), folder / "scores.parquet")
    Manifest(folder.name, STARTED, 1.0, metrics, {}, list_files(folder)).write(folder)


def key(*parts: object) -> str:
    """Of whatever is told apart by these."""
    return sha256(repr(parts).encode()).hexdigest()
