"""A run on a training store, killed in mid-epoch and resumed."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from dark_halo_scope.sky.survey import simulate_survey
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from tests.runs import TINY, command, composed, train

SMALL = ["experiment=lens_small_cnn", "trainer.max_epochs=2", "data.batch_size=8", "logger=csv"]
SMALL += ["callbacks.checkpoint.last_every_n_steps=3"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    survey = simulate_survey(instantiate(composed(*TINY).survey, _convert_="all"), folder / "raw", progress=False)
    small = StoreOptions(precision="float32", shard_stamps=60, row_group_stamps=16)
    prepare(str(survey), folder / "store", small, progress=False)
    return folder / "store"


def last_of(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def kill_in_mid_epoch(arguments: list[str], last: Path) -> int:
    """SIGKILL between two checkpoints of the first epoch's second half; the step of the last checkpoint."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if last.exists() and torch.load(last, weights_only=True)["global_step"] >= 6:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return torch.load(last, weights_only=True)["global_step"]


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_equals_uninterrupted(store: Path, tmp_path: Path):
    on_store = [*SMALL, f"data.root={store}"]
    logs = tmp_path / "logs" / "lens_small_cnn"
    whole = train(tmp_path, *on_store, "run_name=whole")
    assert whole.returncode == 0, whole.stderr
    n_steps = torch.load(last_of(logs / "whole"), weights_only=True)["global_step"]

    step = kill_in_mid_epoch(command(tmp_path, *on_store, "run_name=killed"), last_of(logs / "killed"))
    assert 0 < step < n_steps
    assert step % (n_steps // 2)  # not at the end of an epoch
    resumed = train(tmp_path, *on_store, "resume=auto")
    assert resumed.returncode == 0, resumed.stderr
    assert f"run folder: {logs / 'killed'}" in resumed.stdout
    for checkpoint in ("last.ckpt", "best.ckpt"):
        ours, theirs = (
            torch.load(logs / name / "checkpoints" / checkpoint, weights_only=True)["state_dict"]
            for name in ("killed", "whole")
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), checkpoint
