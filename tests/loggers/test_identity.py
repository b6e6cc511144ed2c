import json
import time

import wandb
from omegaconf import OmegaConf

from dark_halo_scope.loggers.identity import choices, display_name, tags
from dark_halo_scope.loggers.wandb import finish_wandb, wandb_logger


def run_folder(log_dir, name, search=None, data_root=None):
    """As Hydra and `run` leave one before training starts."""
    folder = log_dir / name
    (folder / ".hydra").mkdir(parents=True)
    config = {"experiment_name": "lens", "paths": {"log_dir": str(log_dir)}, "search": {"name": search, "trial": None}}
    OmegaConf.save(OmegaConf.create(config | {"data": {"root": "/simulated"}}), folder / "config.yaml")
    OmegaConf.save(OmegaConf.create(config | {"data": {"root": data_root}}), folder / ".hydra" / "config.yaml")
    chosen = {"model": "resnet18", "transforms": "mad_clip", "survey": "default", "debug": None, "hydra/launcher": "x"}
    OmegaConf.save(OmegaConf.create({"hydra": {"runtime": {"choices": chosen}}}), folder / ".hydra" / "hydra.yaml")
    (folder / "provenance.json").write_text(json.dumps({"data_fingerprint": "0123456789abcdef" * 4}))
    return folder


def test_a_run_a_job_and_a_trial_are_named_below_their_experiment(tmp_path):
    for name, shown in (
        ("lens/20261121-0830-ab12", "20261121-0830-ab12"),
        ("lens/multirun-20261121/2", "multirun-20261121/2"),
        ("search/dropout/trial-7", "dropout/trial-7"),
    ):
        assert display_name(run_folder(tmp_path, name)) == shown


def test_a_run_folder_that_was_moved_is_named_by_itself(tmp_path):
    folder = run_folder(tmp_path / "logs", "lens/run")
    assert display_name(folder.rename(tmp_path / "kept")) == "kept"


def test_tags_say_data_model_and_search(tmp_path):
    simulated = tags(run_folder(tmp_path, "lens/a"))
    assert simulated == [
        "experiment=lens",
        "model=resnet18",
        "transforms=mad_clip",
        "survey=default",
        "data=0123456789ab",
    ]
    of_search = tags(run_folder(tmp_path, "search/s/trial-0", search="s" * 80, data_root="/data"))
    assert "survey=default" not in of_search
    assert of_search[-1] == ("search=" + "s" * 80)[:64]


def test_choices_leave_out_what_was_not_chosen_and_what_is_hydras(tmp_path):
    assert set(choices(run_folder(tmp_path, "lens/a"))) == {"model", "transforms", "survey"}


def test_a_resumed_run_keeps_its_name_and_the_tags_of_its_user(tmp_path, monkeypatch):
    folder = run_folder(tmp_path, "lens/multirun-1/0")
    monkeypatch.setenv("WANDB_TAGS", "referee")
    for _ in range(2):
        wandb.teardown()  # W&B reads its environment once a session
        wandb_logger(str(folder), "project")
        assert wandb.run.name == "multirun-1/0"
        assert wandb.run.tags == ("referee", *tags(folder))
        finish_wandb()
        time.sleep(1.1)  # offline folders are named by the second
    wandb.teardown()
