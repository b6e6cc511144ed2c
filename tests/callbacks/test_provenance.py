import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dark_halo_scope.callbacks.code_version import code_version, library_versions
from dark_halo_scope.callbacks.provenance import ResumeError
from dark_halo_scope.callbacks.rng import rng_state, set_rng_state
from dark_halo_scope.stamps.plan import PlanError
from dark_halo_scope.tasks.restore import load_task
from tests.callbacks.tiny_run import CONFIG, KillAt, Killed, TinyRun, load
from tests.stamps.datasets import spoil, write_dataset


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item(), np.random.standard_normal()  # noqa: NPY002


def test_the_checkpoint_says_where_it_comes_from(finished):
    checkpoint = load(finished.last)
    assert checkpoint["config"] == CONFIG
    assert checkpoint["preprocessing"] == CONFIG["transforms"]
    assert checkpoint["data_fingerprint"] == finished.data.fingerprint
    assert checkpoint["data_position"] == finished.trainer.train_dataloader.state_dict()
    assert checkpoint["data_position"].items() >= {"epoch": 3, "next_batch": 6, "batch_size": 8, "n_rows": 48}.items()
    assert checkpoint["code_version"] == code_version()
    assert checkpoint["versions"]["torch"] == torch.__version__
    assert checkpoint["calibrator"] is checkpoint["thresholds"] is None


def test_a_task_can_be_rebuilt_from_it(finished):
    task = load_task(finished.best)
    image = torch.from_numpy(finished.data.read_stamps(np.arange(4)))
    assert task(image).shape == (4,)


def test_other_data_is_refused(finished, tmp_path):
    other = write_dataset(tmp_path / "other", change=spoil(3, ra=12.5))
    run = TinyRun(other, tmp_path / "run")
    with pytest.raises(ResumeError, match=r"was trained on other data \(fingerprint .*set data.root back"):
        run.fit(run.standard_callbacks(), resume=finished.last)


def test_an_epoch_that_would_go_on_in_other_batches_is_refused(run):
    dying = [*run.standard_callbacks(last_every_n_steps=2), KillAt(9)]
    with pytest.raises(Killed):
        run.fit(dying)
    with pytest.raises(PlanError, match=r"inside epoch 1, after 2 batches, .*accumulate_grad_batches\) was 8 and is 4"):
        run.fit(run.standard_callbacks(), resume=run.last, accumulate_grad_batches=2)
    assert load(run.last)["global_step"] == 8


def test_the_same_data_elsewhere_is_accepted(finished, dataset, tmp_path):
    moved = TinyRun(Path(shutil.copytree(dataset, tmp_path / "moved")), tmp_path / "run")
    moved.fit(moved.standard_callbacks(), resume=finished.last, max_epochs=5)
    assert load(moved.last)["epoch"] == 4


def test_random_states_survive_the_careful_loader(tmp_path):
    draw()
    torch.save(rng_state(), tmp_path / "rng.pt")
    expected = draw()
    set_rng_state(load(tmp_path / "rng.pt"))
    assert draw() == expected


def test_code_version_names_the_commit_only_where_the_code_is_tracked(tmp_path):
    package = Path(sys.modules["dark_halo_scope"].__file__).parent
    clone = tmp_path / "clone"
    (clone / "dark_halo_scope").mkdir(parents=True)
    for name in ("__init__.py", "callbacks/code_version.py"):
        (clone / "dark_halo_scope" / name).parent.mkdir(exist_ok=True)
        shutil.copy(package / name, clone / "dark_halo_scope" / name)
    (clone / "dark_halo_scope" / "callbacks" / "__init__.py").touch()

    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        return subprocess.run(["git", *identity, *arguments], cwd=clone, check=True, capture_output=True, text=True)

    def seen():
        module = "dark_halo_scope.callbacks.code_version"
        code = f"import {module} as m; v = m.code_version(); print(v['commit'], v['dirty'])"
        done = subprocess.run([sys.executable, "-c", code], cwd=clone, check=True, capture_output=True, text=True)
        return done.stdout.split()

    git("init")
    assert seen() == ["None", "None"]  # installed inside a repository of something else
    git("add", ".")
    git("commit", "-m", "all")
    commit = git("rev-parse", "HEAD").stdout.strip()
    assert seen() == [commit, "False"]
    with (clone / "dark_halo_scope" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    assert seen() == [commit, "True"]


def test_library_versions_are_plain_strings():
    versions = library_versions()
    assert versions["python"].startswith("3.")
    assert all(type(version) is str for version in versions.values())
