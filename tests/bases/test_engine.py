"""The graph on real stores, one task at a time or in any order: who runs, when, how often, and what is told."""

import random
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.bases import engine
from dark_halo_scope.bases.engine import Engine, SerialExecutor, Status, attempt
from dark_halo_scope.bases.ledger import Ledger
from dark_halo_scope.bases.progress import words
from dark_halo_scope.bases.work import Refusal
from tests.bases.toys import BAD_BASES, BAD_JOB, PASSING_JOB, Toy, notes, records

BAD = BAD_BASES[0]


class AnyOrder(AbstractContextManager):
    """Ends tasks in an order drawn from a seed."""

    ahead = 5

    def __init__(self, seed):
        self._random, self._tasks = random.Random(seed), []

    def __exit__(self, *error):
        pass

    @property
    def n_open(self):
        return len(self._tasks)

    def has_room(self):
        return len(self._tasks) < 4

    def submit(self, task):
        self._tasks.append(task)

    def ended(self, wait_s):
        if self._tasks and self._random.random() < 0.7:
            task = self._tasks.pop(self._random.randrange(len(self._tasks)))
            yield task, attempt(task.function)


def run(root: Path, items, executor=None) -> Ledger:
    """Run all items to their end."""
    ledger = Ledger(root / "sweep", "python train.py -m again")
    bases, tunings = Toy(root, 0, 0).stores()
    with executor or SerialExecutor() as entered:
        Engine(bases, tunings, entered, ledger).run(items, lambda status: None)
    ledger.write()
    return ledger


def works(root: Path, *pairs: tuple[int, int], **how):
    return [Toy(root, base, job).work([f"b={base}", f"j={job}"], **how) for base, job in pairs]


def states(ledger: Ledger):
    return [(record.labels["n_base"], record.labels["seed"], record.state) for record in ledger.records]


def journal(root: Path):
    return [(kind, int(number)) for kind, number, *_ in notes(root)]


def test_a_base_is_made_once_before_the_first_job_that_needs_it(tmp_path):
    ledger = run(tmp_path, works(tmp_path, (0, 1), (1, 1), (1, 2), (2, 1)))
    assert journal(tmp_path) == [("job", 1), ("base", 1), ("job", 1), ("job", 2), ("base", 2), ("job", 1)]
    assert states(ledger) == [(0, 1, "done"), (1, 1, "done"), (1, 2, "done"), (2, 1, "done")]
    _, tunings = Toy(tmp_path, 0, 0).stores()
    tuned = tunings.get(Toy(tmp_path, 1, 2).tuning.key())
    assert (tuned.folder / "weights.pt").read_text() == "base 1, job 2"


def test_a_second_run_does_nothing(tmp_path):
    pairs = [(0, 1), (1, 1), (2, 1)]
    run(tmp_path, works(tmp_path, *pairs))
    before = journal(tmp_path)
    ledger = run(tmp_path, works(tmp_path, *pairs))
    assert journal(tmp_path) == before
    assert {state for *_, state in states(ledger)} == {"hit"}


def test_a_base_that_is_not_needed_is_not_made(tmp_path):
    run(tmp_path, works(tmp_path, (1, 1)))
    shutil.rmtree(tmp_path / "bases")
    run(tmp_path, works(tmp_path, (1, 1)))
    assert journal(tmp_path) == [("base", 1), ("job", 1)]


def test_what_is_damaged_is_made_anew(tmp_path):
    run(tmp_path, works(tmp_path, (1, 1), (1, 2)))
    toy = Toy(tmp_path, 1, 2)
    for path in (tmp_path / "bases" / toy.base_spec.key(), tmp_path / "tunings" / toy.tuning.key()):
        (path / "weights.pt").write_text("rotten")
    ledger = run(tmp_path, works(tmp_path, (1, 1), (1, 2)))
    assert journal(tmp_path)[3:] == [("base", 1), ("job", 2)]
    assert states(ledger) == [(1, 1, "hit"), (1, 2, "done")]


def test_a_bad_base_blocks_its_children_and_nobody_else(tmp_path):
    ledger = run(tmp_path, works(tmp_path, (BAD, 1), (1, 1), (BAD, 2), (0, 1)))
    assert states(ledger) == [(BAD, 1, "blocked"), (1, 1, "done"), (BAD, 2, "blocked"), (0, 1, "done")]
    assert [n for kind, n in journal(tmp_path) if kind == "base"] == [BAD, 1]
    base, *blocked = ledger.failures
    assert (base.what, base.error, base.overrides) == ("base", f"ToyError: base {BAD} is bad", (f"b={BAD}", "j=1"))
    assert 'raise ToyError(f"base' in base.trace
    assert [failure.what for failure in blocked] == ["blocked", "blocked"]
    assert blocked[1].error == f"its base model {base.key[:12]} failed: ToyError: base {BAD} is bad"


def test_a_missing_base_that_may_not_be_made_blocks(tmp_path):
    run(tmp_path, works(tmp_path, (1, 1)))
    ledger = run(tmp_path, works(tmp_path, (1, 2), (2, 1), (0, 1), may_build=False))
    assert states(ledger) == [(1, 2, "done"), (2, 1, "blocked"), (0, 1, "done")]
    (failure,) = ledger.failures
    assert "is not in the store" in failure.error
    assert "build=true" in failure.error


def test_one_job_by_two_command_lines_runs_once(tmp_path):
    twice = [Toy(tmp_path, 1, 1).work([name]) for name in "ab"]
    ledger = run(tmp_path, [*twice, *works(tmp_path, (1, 1))])
    assert journal(tmp_path) == [("base", 1), ("job", 1)]
    assert [record.overrides for record in ledger.records] == [("a",), ("b",), ("b=1", "j=1")]
    assert len({record.key for record in ledger.records}) == 1
    assert ledger.count.total() == 3


def test_one_bad_job_by_two_command_lines_fails_once(tmp_path):
    ledger = run(tmp_path, works(tmp_path, (1, BAD_JOB), (1, BAD_JOB), (1, 1)))
    assert journal(tmp_path) == [("base", 1), ("job", BAD_JOB), ("job", 1)]
    assert states(ledger) == [(1, BAD_JOB, "failed"), (1, BAD_JOB, "failed"), (1, 1, "done")]


def test_a_disk_that_hiccups_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "PAUSE_S", 0.01)
    ledger = run(tmp_path, works(tmp_path, (0, PASSING_JOB), (0, BAD_JOB)))
    assert states(ledger) == [(0, PASSING_JOB, "done"), (0, BAD_JOB, "failed")]
    assert journal(tmp_path) == [("job", PASSING_JOB), ("job", PASSING_JOB), ("job", BAD_JOB)]


def test_a_job_that_leaves_nothing_has_failed(tmp_path):
    (work,) = works(tmp_path, (0, 1))
    idle = type(work)(work.key, None, None, lambda: None, ("x=1",), {})
    ledger = run(tmp_path, [idle])
    assert ledger.failures[0].error.startswith("it ended, but ")


def test_items_are_taken_when_there_is_use_for_them(tmp_path):
    taken = []

    def items():
        for job in range(4):
            taken.append((job, len(journal(tmp_path))))
            yield Toy(tmp_path, 1, job).work()

    run(tmp_path, items())
    assert taken == [(0, 0), (1, 2), (2, 3), (3, 4)]  # the first makes the base model, too


def test_an_interruption_leaves_what_is_done(tmp_path):
    def stop():
        raise KeyboardInterrupt

    first, second, third = works(tmp_path, (1, 1), (1, 2), (1, 3))
    stopping = type(second)(second.key, second.base_key, second.build, stop, second.overrides, second.labels)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [first, stopping, third])
    ledger = run(tmp_path, [first, second, third])
    assert [state for *_, state in states(ledger)] == ["hit", "done", "done"]


def test_the_files_say_what_became_of_each(tmp_path):
    refusal = Refusal(("b=1", "target=x y"), "there is no target x", "Traceback ...")
    run(tmp_path, [*works(tmp_path, (1, 1), (1, BAD_JOB), (BAD, 1)), refusal])
    lines = {tuple(line["overrides"]): line for line in records(tmp_path / "sweep")}
    toy = Toy(tmp_path, 1, 1)
    labels = dict(toy.work().labels)
    key, base = toy.tuning.key(), toy.base_spec.key()
    expected = {"key": key, "base": base, "overrides": ["b=1", "j=1"], "labels": labels, "state": "done"}
    assert lines[("b=1", "j=1")] == expected
    assert lines[refusal.overrides]["key"] is lines[refusal.overrides]["base"] is None
    assert lines[refusal.overrides]["state"] == lines[("b=1", f"j={BAD_JOB}")]["state"] == "failed"
    assert len(lines) == 4


@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_in_any_order_each_job_ends_as_it_must(tmp_path_factory, data, seed):
    root = tmp_path_factory.mktemp("graph")
    some = st.tuples(st.sampled_from([0, 1, 2, *BAD_BASES]), st.sampled_from([1, 2, 3, BAD_JOB]))
    pairs = data.draw(st.lists(some, max_size=12))
    ledger = run(root, works(root, *pairs), AnyOrder(seed))

    def fate(base, job):
        return "blocked" if base in BAD_BASES else "failed" if job == BAD_JOB else "done"

    expected = sorted((base, job, fate(base, job)) for base, job in pairs)
    assert sorted((b, j, "done" if state == "hit" else state) for b, j, state in states(ledger)) == expected
    assert sorted(n for kind, n in journal(root) if kind == "base") == sorted({base for base, _ in pairs} - {0})
    run_jobs = {(base, job) for base, job in pairs if base not in BAD_BASES}
    assert sorted(n for kind, n in journal(root) if kind == "job") == sorted(job for _, job in run_jobs)
    assert not notes(root, "job", 1, "again")


def test_progress_is_of_what_takes_time():
    status = Status(n_ended=70, n_hits=30, n_failed=2, n_blocked=10, n_bases=5, n_bases_there=3)
    told = "3 of 5 bases, 2 failed, 10 blocked, 10.0 jobs/min, about 3 min left"  # 30 in 3 min, 30 to go
    assert words(status, total=100, seconds=180) == told
    assert words(Status(30, 30, 0, 0, 0, 0), total=100, seconds=1) == "0 of 0 bases"
