"""What a trial costs beside its job, and how soon each sweeper reaches the same value."""

import itertools
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.sweepers.contenders import SPACE, Asked, Contender, journal, start, sweep

Line = dict[str, Any]


def overhead(contenders: Sequence[Contender], folder: Path, rounds: int, n_trials: int) -> list[Line]:
    """Seconds from one job's beginning to the next's, jobs that take no time; A B C D A B C D.

    Beside each sweeper runs the Hydra that it needs by itself, which only goes through a list.
    """
    ways = [(contender, alone) for contender in contenders for alone in (True, False)]
    found: dict[tuple[Contender, bool], list[tuple[float, float]]] = {way: [] for way in ways}
    for round_number in range(rounds):
        for k, (contender, alone) in enumerate(ways):
            asked = Asked(folder / f"overhead-{round_number}-{k}", n_trials)
            began = time.time()
            start(contender, asked, _a_list(asked) if alone else None).wait()
            starts = [job["began"] for job in journal(asked.folder)]
            per_trial = statistics.median(after - before for before, after in itertools.pairwise(starts))
            found[contender, alone].append((per_trial, starts[0] - began))
    return [
        {
            "name": f"the Hydra of {contender.name}, by itself" if alone else contender.name,
            "per_trial_s": statistics.median(per_trial for per_trial, _ in samples),
            "per_trial_s_of_rounds": [per_trial for per_trial, _ in samples],
            "first_job_after_s": statistics.median(first for _, first in samples),
        }
        for (contender, alone), samples in found.items()
    ]


def race(contenders: Sequence[Contender], folder: Path, seeds: Iterable[int], n_trials: int) -> list[Line]:
    """One search a contender and seed, on the same space; when each reached what all of them reach."""
    lines: list[Line] = []
    for seed in seeds:
        began, jobs = {}, {}
        for k, contender in enumerate(contenders):
            asked = Asked(folder / f"race-{seed}-{k}", n_trials, job="network", space=SPACE, seed=seed)
            began[contender] = time.time()
            sweep(contender, asked)
            jobs[contender] = journal(asked.folder)
        target = min(max(map(_value, of)) for of in jobs.values())
        lines += [
            {"name": contender.label, "seed": seed, **course(jobs[contender], began[contender], target)}
            for contender in contenders
        ]
    return lines


def summarise(lines: Sequence[Line]) -> list[Line]:
    """Medians over the seeds."""
    names = list(dict.fromkeys(line["name"] for line in lines))
    keys = ("best", "total_s", "total_epochs", "target_s", "target_epochs")
    return [
        {"name": name, **{key: statistics.median(line[key] for line in lines if line["name"] == name) for key in keys}}
        for name in names
    ]


def course(jobs: Sequence[Line], began: float, target: float) -> Line:
    """How a search went, and when it reached the target."""
    reached = next(k for k, job in enumerate(jobs) if _value(job) >= target)
    return {
        "target": target,
        "best": max(map(_value, jobs)),
        "pruned": sum(job["value"] is None for job in jobs),
        "total_s": jobs[-1]["ended"] - began,
        "total_epochs": sum(job["epochs"] for job in jobs),
        "target_s": jobs[reached]["ended"] - began,
        "target_epochs": sum(job["epochs"] for job in jobs[: reached + 1]),
    }


def _value(job: Line) -> float:
    """What a job reached; nothing if it was pruned."""
    return float(job["value"] or 0.0)


def _a_list(asked: Asked) -> list[str]:
    """The command line without a search: as many rates, one after the other."""
    rates = ",".join(f"{10 ** (-1 - 4 * k / asked.n_trials):.6g}" for k in range(asked.n_trials))
    return ["-m", f"hydra.sweep.dir={asked.folder}/search", f"optimizer.lr={rates}"]
