import pytest
import torch

from dark_halo_scope.callbacks.ema import EMA
from dark_halo_scope.transforms.normalise import AnnulusAsinh
from tests.callbacks.tiny_run import CONFIG, KillAt, Killed, TinyRun, assert_same_weights, load


def callbacks(run):
    return [EMA(decay=0.9), *run.standard_callbacks()]


def test_validation_and_test_use_the_average_that_the_checkpoint_holds(run):
    run.fit(callbacks(run), max_epochs=2)
    checkpoint = load(run.best)
    average, raw = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert not torch.equal(average["network.head.1.weight"], raw["network.head.1.weight"])
    assert_same_weights(run.task.state_dict(), load(run.last)["state_dict"])
    in_training = checkpoint["monitor"]["best"]
    validated = run.trainer.validate(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)
    assert validated[0]["val/auroc"] == pytest.approx(in_training)
    assert_same_weights(run.task.state_dict(), average)
    run.trainer.test(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)
    assert_same_weights(run.task.state_dict(), average)


def test_a_resumed_average_equals_an_uninterrupted_one(dataset, run, tmp_path):
    whole = TinyRun(dataset, tmp_path / "whole")
    whole.fit(callbacks(whole), max_epochs=2)
    with pytest.raises(Killed):
        run.fit([*callbacks(run), KillAt(9)], max_epochs=2)
    run.fit(callbacks(run), resume=run.last, max_epochs=2)
    for name in ("state_dict", "current_model_state"):
        assert_same_weights(load(run.last)[name], load(whole.last)[name])


@pytest.mark.parametrize("decay", [0.9, 0.9999])
def test_the_pixels_of_the_sky_annulus_are_not_averaged(decay, run, monkeypatch):
    asinh = {"_target_": "dark_halo_scope.transforms.normalise.AnnulusAsinh"}
    monkeypatch.setitem(CONFIG, "transforms", CONFIG["transforms"] | {"normalise": asinh})
    run.fit([EMA(decay), *run.standard_callbacks()], max_epochs=1)
    assert torch.equal(run.task.normalise.annulus, AnnulusAsinh().annulus)
