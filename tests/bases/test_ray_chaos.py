"""A sweep on Ray that loses workers, then Ray itself, then its driver: the same command completes it."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from dark_halo_scope.bases.report.page import report
from tests.bases.sweeps import command, descendants, is_alive, is_raylet, ray_folder, start, wait_for
from tests.bases.toys import BAD_BASES, BAD_JOB, Toy, notes, records

BASES, JOBS = (1, 2, 3, 4), range(8)
SWEPT = [
    f"data.batch_size=0,{','.join(map(str, (*BASES, *BAD_BASES)))}",
    f"seed={','.join(map(str, (*JOBS, BAD_JOB)))}",
]


@pytest.fixture(autouse=True)
def session(monkeypatch):
    with ray_folder() as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.mark.slow
def test_the_same_command_completes_what_kills_left(tmp_path: Path):
    data, sweep = tmp_path / "data", command(tmp_path, *SWEPT)

    driver = start(sweep, TOY_BASE_S="0.3", TOY_JOB_S="0.2")
    for kind, n in (("base", 1), ("job", 4)):
        at_work = wait_for(lambda kind=kind, n=n: len(found := notes(data, kind)) >= n and found, driver=driver)
        os.kill(int(at_work[-1][-2]), signal.SIGKILL)
    n_before = len(notes(data, "job"))
    wait_for(lambda: len(notes(data, "job")) > n_before + 4, driver=driver)
    for pid in filter(is_raylet, descendants(driver.pid)):
        os.kill(pid, signal.SIGKILL)
    said, _ = driver.communicate(timeout=200)
    assert driver.returncode == 2, said
    assert "refused: Ray has ended or does not answer any more on this machine" in said
    assert "to go on with what is not done: python train.py -m" in said

    driver = start(sweep, TOY_JOB_S="0.2")
    n_before = len(notes(data, "job"))
    wait_for(lambda: len(notes(data, "job")) > n_before + 4, driver=driver)
    children = descendants(driver.pid)
    driver.kill()
    driver.communicate()
    assert len(children) > 4
    wait_for(lambda: not any(map(is_alive, children)), timeout_s=30)

    driver = start(sweep)
    said, _ = driver.communicate(timeout=200)
    assert driver.returncode == 1, said
    check_completed(tmp_path, said)


def check_completed(folder: Path, said: str) -> None:
    """All is there and sound, nothing was made twice, and what failed is told exactly."""
    data = folder / "data"
    expected = {
        (base, job): "failed" if job == BAD_JOB else "done" for base in (0, *BASES) for job in (*JOBS, BAD_JOB)
    } | {(base, job): "blocked" for base in BAD_BASES for job in (*JOBS, BAD_JOB)}
    lines = records(folder / "sweep")
    states = {(line["labels"]["n_base"], line["labels"]["seed"]): line["state"] for line in lines}
    assert len(lines) == len(expected) == 63
    assert {at: "done" if state == "hit" else state for at, state in states.items()} == expected

    bases, tunings = Toy(data, 0, 0).stores()
    for (base, job), state in expected.items():
        if state == "done":
            tuning = tunings.get(Toy(data, base, job).tuning.key())
            start = f"base {base}" if base else "fresh"
            assert (tuning.folder / "weights.pt").read_text() == f"{start}, job {job}"
    assert set(bases.keys()) == {Toy(data, base, 0).base_spec.key() for base in BASES}
    assert not any(map(bases.check, bases.keys()))
    assert not any(map(tunings.check, tunings.keys()))
    assert not (data / "bases" / "corrupt").exists()
    assert len(tunings.keys()) == sum(state == "done" for state in expected.values())
    assert [line for line in (data / "journal").read_text().splitlines() if "again" in line] == []

    told = json.loads((folder / "sweep" / "failures.json").read_text())
    failed = {(entry["what"], entry["labels"]["n_base"]): entry["error"] for entry in told["failed"]}
    assert failed == {("base", base): f"ToyError: base {base} is bad" for base in BAD_BASES} | {
        ("job", base): "ToyError: the job is bad" for base in (0, *BASES)
    }
    assert sorted((e["labels"]["n_base"], e["labels"]["seed"]) for e in told["blocked"]) == sorted(
        at for at, state in expected.items() if state == "blocked"
    )
    entry = next(entry for entry in told["failed"] if entry["what"] == "job")
    assert entry["retry"] == "python train.py " + " ".join(entry["overrides"])
    assert "blocks 9 jobs" in said
    assert "Task _attempt failed" not in said  # Ray's own words

    page = report(folder / "sweep", data).read_text()
    assert "23 of 63 jobs have no result" in re.sub(r"\s+", " ", page)
