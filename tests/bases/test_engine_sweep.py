"""The launchers through Hydra's own command line, one job after another."""

import json
import re
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from dark_halo_scope.bases.engine import SerialExecutor
from dark_halo_scope.bases.report.page import report
from dark_halo_scope.bases.sweep import BASIC_SWEEPER, LaunchError, sweep
from tests.bases.sweeps import TOYS, command, start
from tests.bases.toys import BAD_BASES, UNKNOWN_JOB, notes, records

BAD = BAD_BASES[0]
SWEPT = [f"data.batch_size=0,1,{BAD}", f"seed=1,{UNKNOWN_JOB}"]


def run(folder, *overrides):
    driver = start(command(folder, *overrides, launcher="serial_graph"))
    said, _ = driver.communicate(timeout=120)
    return driver.returncode, said


def test_a_sweep_is_planned_and_run(tmp_path):
    code, said = run(tmp_path, *SWEPT, "+plan=true")
    assert code == 1, said  # refusals
    assert "refused 3 x: ToyError: there is no such job" in said
    told = json.loads((tmp_path / "sweep" / "plan.json").read_text())
    assert (told["counts"]["to_run"], told["counts"]["bases_to_train"]) == (3, 2)
    assert not any("plan=" in word for job in told["jobs"] for word in job["overrides"])
    assert not (tmp_path / "data").exists()

    code, said = run(tmp_path, *SWEPT)
    assert code == 1, said
    assert "6 jobs, 2 done, 3 failed, 1 blocked" in said
    states = [line["state"] for line in records(tmp_path / "sweep")]
    assert states == ["done", "failed", "done", "failed", "blocked", "failed"]
    told = json.loads((tmp_path / "sweep" / "failures.json").read_text())
    assert told["command"].startswith("python train.py -m ")
    assert {*SWEPT, "hydra/launcher=serial_graph"} <= set(told["command"].split())
    assert told["command"] in said
    assert [(entry["what"], entry["overrides"][-2:]) for entry in told["failed"]] == [
        ("config", ["data.batch_size=0", f"seed={UNKNOWN_JOB}"]),
        ("config", ["data.batch_size=1", f"seed={UNKNOWN_JOB}"]),
        ("base", [f"data.batch_size={BAD}", "seed=1"]),
        ("config", [f"data.batch_size={BAD}", f"seed={UNKNOWN_JOB}"]),
    ]
    assert len(notes(tmp_path / "data")) == 4  # two jobs and two base models, one of them bad
    assert "ToyError" in (tmp_path / "sweep" / "failures.json").read_text()
    page = report(tmp_path / "sweep", tmp_path / "data").read_text()
    assert "4 of 6 jobs have no result: " in re.sub(r"\s+", " ", page)


@pytest.mark.parametrize("sweeper", [{"max_batch_size": 2}, {"_target_": "hydra_plugins.halo_sweeper.HaloSweeper"}])
def test_jobs_in_parts_are_refused(sweeper):
    hydra = {
        "sweeper": {"_target_": BASIC_SWEEPER, "max_batch_size": None} | sweeper,
        "runtime": {"choices": {"hydra/launcher": "ray_graph"}},
    }
    with pytest.raises(LaunchError, match="hydra/launcher=ray_graph needs all jobs at once"):
        sweep(OmegaConf.create({"hydra": hydra}), None, [], TOYS, SerialExecutor)


def test_the_plugin_is_light():
    heavy = "[name for name in ('ray', 'torch', 'rich', 'dark_halo_scope') if name in sys.modules]"
    code = f"import sys, hydra_plugins.halo_ray_graph; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
