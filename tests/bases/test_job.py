"""What keys depend on, and that weights depend on nothing else."""

import pickle
from pathlib import Path

import pytest
import torch

from dark_halo_scope.bases.job import build_base, job_of
from tests.bases.tunings import PARTICIPANTS, QUICK, job
from tests.runs import composed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


OUTSIDE = [  # of a base model
    "data.num_threads=3",
    "data.prefetch_batches=1",
    "data.eval_batch_size=7",
    "finetune=head_only",
    "finetune.steps=7",
    "finetune.seed=5",
    "finetune.batch_size=3",
    "budget=12",
    "hardware.loader_threads=2",
    "bases.store=/elsewhere",
    "bases.test_fraction=0.5",
    "bases.metric=accuracy",
    "build=false",
    "plan=true",
]
INSIDE = [
    "seed=2",
    "n_base=1",
    "base_groups=[p002,p003]",
    "model.dropout=0.1",
    "optimizer.lr=1e-3",
    "scheduler.floor_lr=1e-7",
    "recipe.batch_size=32",
    "recipe.max_epochs=3",
    "trainer.gradient_clip_val=2.0",
    "transforms.normalise.by=all",
    "transforms.augment.jitter=0.1",
    "transforms.augment.use_augmentation=false",
    "bases.val_fraction=0.5",
    "bases.early_stop={metric: val/loss, mode: min, patience: 1}",
    "hardware.precision=bf16-mixed",
    "data.lanes=4",
    "participants.seed=6",
]


@pytest.mark.parametrize("change", OUTSIDE)
def test_what_is_outside_the_spec_leaves_the_key_of_the_base_model(change, folder):
    assert job(folder, change).base.key() == job(folder).base.key()


@pytest.mark.parametrize("change", INSIDE)
def test_what_changes_weights_changes_the_key_of_the_base_model_and_of_the_tuning(change, folder):
    here, there = job(folder), job(folder, change)
    assert there.base.key() != here.base.key()
    assert there.key() != here.key()


def test_what_is_off_is_not_in_the_key(folder):
    off = ["transforms.augment.use_augmentation=false"]
    assert job(folder, *off, "transforms.augment.jitter=0.3").base.key() == job(folder, *off).base.key()


@pytest.mark.parametrize(
    ("change", "modes_it_concerns"),
    [
        ("budget=12", {"target_only_fine_tuning", "target_only"}),
        ("finetune.seed=5", {"target_only_fine_tuning", "target_only"}),
        ("n_base=1", {"target_only_fine_tuning", "base_only"}),
        ("target=p002", {"target_only_fine_tuning", "base_only", "target_only"}),
        ("bases.test_fraction=0.5", {"target_only_fine_tuning", "base_only", "target_only"}),
        ("data.num_threads=3", set()),
        ("build=false", set()),
    ],
)
def test_a_tuning_is_another_where_a_change_concerns_its_mode(change, modes_it_concerns, folder):
    modes = ("target_only_fine_tuning", "base_only", "target_only")
    changed = {m for m in modes if job(folder, f"finetune={m}", change).key() != job(folder, f"finetune={m}").key()}
    assert changed == modes_it_concerns


def test_targets_of_a_fold_share_base_models_and_few_bases_are_among_many(folder):
    folds = {target: job(folder, f"target={target}", "n_folds=2", "n_base=2") for target in ("p001", "p002", "p003")}
    by_fold = {}
    for asked in folds.values():
        by_fold.setdefault(asked.labels["fold"], set()).add(asked.base.key())
    assert sorted(map(len, by_fold.values())) == [1, 1]
    groups = [set(job(folder, f"n_base={n}").base.groups) for n in (1, 2, 3)]
    assert groups[0] < groups[1] < groups[2]
    assert "p001" not in groups[2]


def test_a_change_outside_the_spec_changes_no_bit_of_the_weights(folder, tmp_path):
    others = ["data.num_threads=3", "data.prefetch_batches=1", "finetune=head_only", "budget=12", "n_folds=4"]
    jobs = [job(folder, "n_base=3"), job(tmp_path, "n_base=3", *others)]
    built, threads = [], torch.get_num_threads()
    for number, asked in enumerate(jobs, 1):
        torch.set_num_threads(number)
        built.append(build_base(asked.base, asked.place))
    torch.set_num_threads(threads)
    here, there = built
    assert here.folder != there.folder
    assert here.key == there.key
    first, second = here.weights(), there.weights()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert here.metrics == there.metrics


def test_a_work_travels_to_another_process(folder):
    asked = job(folder, "n_base=1", "seed=7", "finetune=base_only")
    work = pickle.loads(pickle.dumps(asked.work(may_build=True)))
    work.build()
    work.run()
    assert asked.place.tunings.get(work.key).metrics["budget"] == {"train": 0, "val": 0}
    assert work.base_spec == asked.base
    assert work.labels == {
        "mode": "base_only", "target": "p001", "n_base": 1, "replicate": 0, "fold": None, "budget": None, "seed": 7,
    }  # fmt: skip


def test_nobody_asked_for_is_the_first_participant(folder):
    words = [word for word in (*PARTICIPANTS, *QUICK) if not word.startswith("target=")]
    assert job_of(composed(*words, f"paths.data_dir={folder}", "paths.run_dir=run")).labels["target"] == "p001"
