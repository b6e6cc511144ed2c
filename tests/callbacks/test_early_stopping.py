from lightning.pytorch import Callback

from tests.callbacks.tiny_run import KillAt, assert_same_weights, load


class NoProgress(Callback):
    """A validation metric that never improves."""

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("val/auroc", 0.5)


def test_a_stopped_run_stays_stopped_when_resumed(run):
    run.fit([NoProgress(), *run.standard_callbacks(patience=1)])
    stopped = load(run.last)
    assert stopped["epoch"] == 1
    run.fit([NoProgress(), *run.standard_callbacks(patience=1), KillAt(12)], resume=run.last)
    assert_same_weights(run.task.state_dict(), stopped["state_dict"])


def test_more_patience_lets_a_stopped_run_go_on(run):
    run.fit([NoProgress(), *run.standard_callbacks(patience=1)])
    run.fit([NoProgress(), *run.standard_callbacks(patience=2)], resume=run.last)
    assert load(run.last)["epoch"] == 2
