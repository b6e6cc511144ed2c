import json

from dark_halo_scope.callbacks.quarantine import QuarantineSummary
from dark_halo_scope.stamps.decoder import QUARANTINED, Fault
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.quarantine import Quarantine
from tests.callbacks.tiny_run import TinyRun
from tests.stamps.datasets import spoil, write_dataset


def test_the_summary_counts_the_bad_rows_of_every_split_met(tmp_path):
    """One bad stamp in each split: row 5 of train, row 50 of val, row 80 of test."""
    dataset = write_dataset(tmp_path / "dataset", change=spoil(5, 50, 80, stamp_npz=b"not a zip"))
    run = TinyRun(dataset, tmp_path / "run")
    path = run.folder / "quarantine" / "summary.json"
    run.fit([QuarantineSummary(str(run.folder)), *run.standard_callbacks()], max_epochs=2)
    assert count(path) == {"train": 1, "val": 1, "test": 0}
    assert [value for _, _, value in run.history()["data/quarantined"]] == [2.0, 2.0]
    run.trainer.test(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)
    assert count(path) == {"train": 1, "val": 1, "test": 1}
    summary = json.loads(path.read_text())
    assert summary["limit"] == 0.001
    assert summary["repaired"] == {}


def test_what_ranks_met_that_are_gone_counts_too(tmp_path):
    """Of four ranks, two met a bad stamp of train: one that this run meets again, and one that it does not."""
    dataset = write_dataset(tmp_path / "dataset", change=spoil(5, stamp_npz=b"not a zip"))
    run = TinyRun(dataset, tmp_path / "run")
    index = StampIndex.build(str(dataset))
    for rank, row in ((2, 5), (3, 8)):
        gone = Quarantine(index, run.folder / "quarantine", rank=rank)
        gone.write([gone.describe(Fault(row, QUARANTINED, "not_a_zip", "no zip"))])
    run.fit([QuarantineSummary(str(run.folder)), *run.standard_callbacks()], max_epochs=1)
    assert count(run.folder / "quarantine" / "summary.json") == {"train": 2, "val": 0, "test": 0}
    assert [value for _, _, value in run.history()["data/quarantined"]] == [2.0]


def count(path):
    (splits,) = json.loads(path.read_text())["quarantined"].values()
    return {split: sum(classes.values()) for split, classes in splits.items()}
