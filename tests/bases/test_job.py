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
    "hardware.devices=1",
    "logger=csv",
    "experiment_name=another",
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


def test_folds_that_leave_unlike_numbers_are_warned_of_where_all_are_taken(folder, caplog):
    job(folder, "n_folds=3", "n_base=2", "seed=31")
    assert not caplog.records
    for seed in (31, 32):
        job(folder, "n_folds=3", "n_base=null", f"seed={seed}")
    (record,) = caplog.records
    assert "which are 2 or 3: no curve goes through targets whose bases differ in size; set n_base=2" in record.message


def test_changes_outside_the_spec_change_no_bit_of_the_weights(folder, tmp_path):
    people = job(folder).place.reopen().index.participants
    fold = [p for p in people if job(folder, f"target={p}", "n_folds=2").labels["fold"] == 0]
    named = f"base_groups=[{','.join(sorted(set(people) - set(fold), reverse=True))}]"
    outside = [change for change in OUTSIDE if not change.startswith("bases.store")]
    jobs = [
        job(folder, f"target={fold[0]}", "n_folds=2", "n_base=2", "finetune=full_fine_tuning"),
        job(tmp_path / "another_target", f"target={fold[1]}", "n_folds=2", "n_base=2", *outside),
        job(tmp_path / "no_fold", f"target={fold[1]}", named, "finetune=linear_probe_then_fine_tuning"),
    ]
    built, threads = [], torch.get_num_threads()
    for number, asked in enumerate(jobs, 1):
        torch.set_num_threads(number)
        built.append(build_base(asked.base, asked.place))
    torch.set_num_threads(threads)
    assert [len({asked.labels[name] for asked in jobs}) for name in ("target", "mode", "fold")] == [2, 3, 2]
    assert len({base.folder for base in built}) == 3
    assert len({base.key for base in built}) == 1
    weights = [base.weights() for base in built]
    assert all(of.keys() == weights[0].keys() for of in weights)
    assert all(torch.equal(of[name], weights[0][name]) for of in weights for name in of)
    assert all(base.metrics == built[0].metrics for base in built)


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
