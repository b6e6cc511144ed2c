"""What a plan counts and guesses, on real stores."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from dark_halo_scope.bases.manifest import Manifest
from dark_halo_scope.bases.plan import Plan
from dark_halo_scope.bases.plan_table import show_plan
from dark_halo_scope.bases.work import Refusal
from tests.bases.specs import base_spec
from tests.bases.toys import Toy, ToyTuning, ToyWorkshop


def works(root: Path, bases, jobs, **how):
    return [Toy(root, base, job).work([f"b={base}", f"j={job}"], **how) for base in bases for job in jobs]


def planned(root: Path, items) -> Plan:
    plan = Plan(*Toy(root, 0, 0).stores(), len(items))
    for item in items:
        plan.add(item)
    return plan


def seen(plan: Plan, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    show_plan(plan, console)
    return console.file.getvalue()


def spend(folder: Path, seconds: float) -> None:
    """Let the making of an artefact have taken so long."""
    manifest = Manifest.read(folder)
    Manifest(**{**vars(manifest), "seconds": seconds}).write(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Base models 1 and 2, which took 1 h and 2 h, and two jobs on 1, which took 6 minutes each."""
    root = tmp_path_factory.mktemp("plan")
    for base in (1, 2):
        Toy(root, base, 0).build()
        spend(root / "bases" / Toy(root, base, 0).base_spec.key(), 3600 * base)
    for job in (1, 2):
        Toy(root, 1, job).run()
        spend(root / "tunings" / Toy(root, 1, job).tuning.key(), 360)
    return root


def test_it_counts_what_is_shared_and_what_is_there(root):
    twice = Toy(root, 3, 1).work(["the same"])
    plan = planned(root, [*works(root, (0, 1, 2, 3), (1, 2, 3)), twice, Refusal(("x=1",), "no such x", "")])
    assert plan.counts() == {
        "command_lines": 14,
        "not_come_to": 0,
        "refused": 1,
        "jobs": 12,
        "hits": 2,
        "to_run": 10,
        "blocked": 0,
        "without_base": 3,
        "bases": 3,
        "bases_stored": 2,
        "bases_to_train": 1,
        "trainings_saved": 6,
    }
    assert not plan.is_sound


def test_it_guesses_from_like_ones(root):
    takes = planned(root, works(root, (1, 4), (1, 2, 3))).takes()
    assert takes["hours"] == pytest.approx(4 + 4 * 0.1)  # an hour a group; 4 jobs of 6 minutes
    assert takes["unknown"] == {"bases": 0, "jobs": 0}
    assert takes["devices"] == ["CPU"]
    assert takes["bytes"] > 0


def test_it_does_not_guess_from_unlike_ones(root):
    work = Toy(root, 4, 1).work()
    spec = base_spec(seed=4, model={"_target_": "another.Network"})
    other = type(work)(work.key, spec.key(), work.build, work.run, (), {"mode": "head_only"}, spec)
    takes = planned(root, [other]).takes()
    assert takes == {"hours": None, "bytes": None, "devices": [], "unknown": {"bases": 1, "jobs": 1}}


def test_a_missing_base_that_may_not_be_made_blocks_its_jobs(root):
    plan = planned(root, works(root, (1, 5), (1, 7), may_build=False))
    assert {name: plan.counts()[name] for name in ("hits", "to_run", "blocked", "bases_to_train")} == {
        "hits": 1,
        "to_run": 1,
        "blocked": 2,
        "bases_to_train": 0,
    }
    assert not plan.is_sound


def test_a_missing_base_whose_jobs_are_there_is_not_needed(root):
    toy = Toy(root, 1, 1)
    gone = base_spec(seed=99)
    _, tunings = toy.stores()
    tunings.build(ToyTuning(1, gone.key()), lambda spec, folder: (folder / "weights.pt").touch() or {})
    work = toy.work()
    hit = type(work)(ToyTuning(1, gone.key()).key(), gone.key(), work.build, work.run, (), work.labels, gone)
    plan = planned(root, [hit])
    assert plan.is_sound
    assert plan.bases[gone.key()].state == "not needed"
    assert plan.takes()["hours"] is None


def test_it_is_written_as_it_is(root, tmp_path):
    plan = planned(root, [*works(root, (0, 4), (1,)), Refusal(("x=1",), "no such x", "")])
    plan.write(tmp_path)
    told = json.loads((tmp_path / "plan.json").read_text())
    assert told["counts"] == plan.counts()
    assert [(job["state"], job["overrides"]) for job in told["jobs"]] == [
        ("to run", ["b=0", "j=1"]),
        ("to run", ["b=4", "j=1"]),
    ]
    assert list(told["bases"].values()) == [
        {"state": "to train", "groups": 4, "jobs": 1, "jobs_to_run": 1, "hours": pytest.approx(4)}
    ]
    assert told["refused"] == [{"overrides": ["x=1"], "error": "no such x"}]


def test_it_reads_on_a_terminal(root):
    plan = planned(root, [*works(root, (0, 1, 4), (1, 2, 3)), *[Refusal((f"x={n}",), "no such x", "") for n in (1, 2)]])
    text = seen(plan)
    assert "about 4.4 h of a CPU" in text
    assert "without 3 jobs: nothing like them is in the store" in text  # those without a base model
    assert "refused 2 x: no such x\n  python train.py x=1" in text
    assert max(map(len, seen(plan, width=60).splitlines())) <= 60


def test_it_writes_nothing_into_the_stores(root, tmp_path):
    class Config:
        paths = type("Paths", (), {"data_dir": tmp_path})

    shop = ToyWorkshop(Config())
    Plan(shop.bases, shop.tunings, 1).add(Toy(tmp_path, 1, 1).work())
    assert list(tmp_path.iterdir()) == []
