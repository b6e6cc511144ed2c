"""Training on windows, through the trainer and the real stream."""

import json

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from dark_halo_scope.callbacks.history import MetricHistory
from dark_halo_scope.callbacks.quarantine import QuarantineSummary
from dark_halo_scope.tasks.build import build_task
from dark_halo_scope.tasks.restore import load_task
from dark_halo_scope.tasks.window_classification import UnknownParticipantError, WindowClassificationTask
from dark_halo_scope.windows.datamodule import WindowDataModule
from dark_halo_scope.windows.index import WindowIndex, participant_key
from dark_halo_scope.windows.statistics import channel_statistics
from tests.tasks.composed import OF_WINDOWS, composed
from tests.tasks.tiny import tiny_trainer
from tests.windows.datasets import LABELS, values, window, write_study

SIZES = ["model.n_channels=2", "model.n_classes=3", "transforms.augment.triples=[]"]


def build(*overrides: str, model: str = "small_cnn1d") -> WindowClassificationTask:
    torch.manual_seed(7)
    options = ["optimizer.lr=3e-3", "scheduler.warmup_epochs=0.2", *overrides]
    return build_task(composed(model, "windows", *SIZES, *options, task="window_classification"))


def parts_of(index: WindowIndex, participants: str = "p0 p1 p2") -> WindowIndex:
    """Of these participants the first session to train on, half of the second for val, the other half for test."""
    theirs = np.isin(np.array(index.participants)[index.participant], participants.split())
    rows, late = np.flatnonzero(theirs), index.time >= 1000
    middle = 1000 + np.median(index.time[late] - 1000)
    half = index.time >= middle
    return index.with_parts(
        {"train": rows[~late[rows]], "val": rows[(late & ~half)[rows]], "test": rows[(late & half)[rows]]}
    )


def data(index: WindowIndex, folder, batch_size: int = 8) -> WindowDataModule:
    return WindowDataModule(None, str(folder), index=index, batch_size=batch_size, eval_batch_size=16)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> WindowIndex:
    return WindowIndex.build(str(write_study(tmp_path_factory.mktemp("study"), windows=24)))


@pytest.mark.parametrize("model", sorted(OF_WINDOWS["model"]))
def test_every_config_makes_a_task_that_gives_a_logit_a_class(model, index):
    task = build(model=model).eval()
    task.normalise.fit(channel_statistics(index, np.arange(8)))
    batch = {"window": torch.from_numpy(window(3))[None], "participant": torch.tensor([participant_key("p0")])}
    assert task(batch).shape == (1, 3)


def test_a_fit_learns_and_logs_all_its_numbers(index, tmp_path):
    parts, task = parts_of(index), build()
    watching = [QuarantineSummary(str(tmp_path)), MetricHistory(str(tmp_path))]
    trainer = tiny_trainer(tmp_path, max_epochs=12, callbacks=watching)
    trainer.fit(task, datamodule=data(parts, tmp_path))
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"val/loss", "val/macro_f1", "val/balanced_accuracy", "train/grad_norm"} <= logged.keys()
    assert logged["val/accuracy"] > 0.7  # the mean of a window depends on its number modulo 3, as its label does
    assert logged["val/loss"] == pytest.approx(logged["val/nll"], abs=1e-5)
    tested = trainer.test(task, datamodule=data(parts, tmp_path), verbose=False)[0]
    assert tested["test/accuracy"] > 0.7
    scores = task.gathered_scores("test")
    assert scores["row"].tolist() == parts.rows("test").tolist()
    assert scores["logit"].shape == (len(parts.rows("test")), len(LABELS))
    best = json.loads((tmp_path / "history.json").read_text())["metrics"]
    assert best["val/macro_f1"]["best"] >= logged["val/macro_f1"]
    assert json.loads((tmp_path / "quarantine" / "summary.json").read_text())["rows"]["train"] == dict(
        zip(parts.classes, [24, 24, 24], strict=True)
    )


def test_neither_weights_nor_numbers_know_what_is_tested_on(index, tmp_path):
    parts = parts_of(index)
    assert parts.rows("test")[-1] == 143
    changed = write_study(tmp_path / "changed", windows=24, change=values(window=(47, [1e6] * 32)))
    other = parts_of(WindowIndex.build(str(changed)))
    assert other.fingerprint != parts.fingerprint
    states = []
    for study in (parts, other):
        task = build()
        tiny_trainer(tmp_path, max_epochs=1).fit(task, datamodule=data(study, tmp_path))
        states.append(task.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_somebody_new_is_learnt_and_the_others_keep_their_numbers(index, tmp_path):
    base, tuned = build(), build()
    tiny_trainer(tmp_path, max_epochs=1).fit(base, datamodule=data(parts_of(index, "p0 p1"), tmp_path))
    tuned.load_state_dict(base.state_dict())
    target = parts_of(index, "p2")
    tiny_trainer(tmp_path, max_epochs=1).fit(tuned, datamodule=data(target, tmp_path))
    number = {int(key): k for k, key in enumerate(tuned.normalise.participants)}
    assert len(number) == 3
    for key, mean in zip(base.normalise.participants.tolist(), base.normalise.mean, strict=True):
        assert torch.equal(tuned.normalise.mean[number[key]], mean)
    own = np.stack([window(row) for row in target.rows("train")]).mean(axis=(0, 2))
    np.testing.assert_allclose(tuned.normalise.mean[number[participant_key("p2")]], own, rtol=1e-5)


def test_somebody_whose_windows_cannot_be_normalised_is_refused_by_name(index, tmp_path):
    everybody, some = parts_of(index), parts_of(index, "p0 p1")
    parts = index.with_parts({"train": some.rows("train"), "val": some.rows("val"), "test": everybody.rows("test")})
    task, study = build(), data(parts, tmp_path)
    trainer = tiny_trainer(tmp_path, max_epochs=1)
    trainer.fit(task, datamodule=study)
    with pytest.raises(
        UnknownParticipantError, match=r"part test has windows of p2, .*set transforms.normalise.by=all"
    ):
        trainer.test(task, datamodule=study, verbose=False)
    task.normalise.fit(channel_statistics(index, everybody.rows("train")))
    trainer.test(task, datamodule=study, verbose=False)
    pooled = build("transforms.normalise.by=all")
    trainer = tiny_trainer(tmp_path, max_epochs=1)
    trainer.fit(pooled, datamodule=study)
    assert trainer.test(pooled, datamodule=study, verbose=False)[0]["test/accuracy"] > 0


def test_a_checkpoint_holds_all_that_scoring_takes(index, tmp_path):
    config = composed("small_cnn1d", "windows", *SIZES, task="window_classification")
    saved = build_task(config)
    saved.normalise.fit(channel_statistics(index, np.arange(8)))
    torch.save({"state_dict": saved.state_dict(), "config": config}, tmp_path / "best.ckpt")
    batch = {"window": torch.from_numpy(window(3))[None], "participant": torch.tensor([participant_key("p0")])}
    assert torch.equal(load_task(tmp_path / "best.ckpt")(batch), saved.eval()(batch))


def test_a_resumed_fit_equals_an_uninterrupted_one(index, tmp_path):
    parts, options = parts_of(index), {"max_epochs": 3, "enable_checkpointing": True}
    whole, resumed = build(), build()
    saved = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    tiny_trainer(tmp_path, callbacks=[saved], **options).fit(whole, datamodule=data(parts, tmp_path))
    second = tiny_trainer(tmp_path / "second", **options)
    checkpoint = tmp_path / "epoch=0.ckpt"
    second.fit(resumed, datamodule=data(parts, tmp_path), ckpt_path=checkpoint, weights_only=True)
    assert second.global_step == 27
    first, again = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
