import json

import numpy as np
import pytest

from dark_halo_scope.stamps.decoder import QUARANTINED, REPAIRED, Fault
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.quarantine import Quarantine, QuarantineLimitError, QuarantinePass
from tests.stamps.datasets import spoil, write_dataset


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = write_dataset(tmp_path_factory.mktemp("survey"), change=spoil(2, cutout_ok=0))
    return StampIndex.build(str(folder))


def faults(*rows: int, action: str = QUARANTINED, reason: str = "corrupt") -> list[Fault]:
    return [Fault(row, action, reason, "image_g.npy fails its checksum") for row in rows]


def add(review: QuarantinePass, quarantine: Quarantine, label: np.ndarray, found: list[Fault]) -> None:
    review.add(label, [quarantine.describe(fault) for fault in found])


ALTERNATING = np.arange(100, dtype=np.int8) % 2


def test_each_bad_row_is_written_once_with_what_names_it(index, tmp_path):
    quarantine = Quarantine(index, tmp_path, rank=3)
    for _ in range(2):  # two epochs
        review = QuarantinePass(quarantine, "val", 100)
        add(review, quarantine, ALTERNATING, faults(51))
    (line,) = (tmp_path / "rank3.jsonl").read_text().splitlines()
    record = json.loads(line)
    ra, dec = record.pop("ra"), record.pop("dec")
    assert 0 <= ra <= 360
    assert -30 <= dec <= 30
    assert record == {
        "row": 51,
        "file": "part-001.parquet",
        "row_in_file": 3,
        "split": "val",
        "class": "lens",
        "action": "quarantined",
        "reason": "corrupt",
        "message": "image_g.npy fails its checksum",
        "stamp_id": "s000051",
        "region_id": 9,
        "host_id": 1051,
    }


def test_a_resumed_run_knows_what_was_written_and_mends_half_a_line(index, tmp_path):
    first = Quarantine(index, tmp_path)
    first.write([first.describe(fault) for fault in faults(1, 5)])
    with first.path.open("a") as file:
        file.write('{"row": 7, "fi')
    second = Quarantine(index, tmp_path)
    assert [record["row"] for record in second.records] == [1, 5]
    second.write([second.describe(fault) for fault in faults(5, 7)])
    assert [json.loads(line)["row"] for line in first.path.read_text().splitlines()] == [1, 5, 7]


def test_a_row_that_meets_another_action_is_counted_and_written_again(index, tmp_path):
    """Filled with the sky at first; resumed with a smaller max_nonfinite_fraction, it leaves its batch."""
    first = Quarantine(index, tmp_path, limit=0.0)
    add(QuarantinePass(first, "train", 100), first, ALTERNATING, faults(1, 5, action=REPAIRED, reason="nonfinite"))
    resumed = Quarantine(index, tmp_path, limit=0.0)
    review = QuarantinePass(resumed, "train", 100)
    add(review, resumed, ALTERNATING, faults(5, reason="nonfinite"))
    with pytest.raises(QuarantineLimitError, match="2 of the 100 stamps of this pass are unusable"):
        add(review, resumed, ALTERNATING, faults(1, reason="nonfinite"))
    again = Quarantine(index, tmp_path)
    assert [(r["row"], r["action"]) for r in again.records] == [(1, QUARANTINED), (5, QUARANTINED)]
    assert again.summary()["quarantined"]["nonfinite"]["train"] == {"control": 0, "lens": 2}
    assert again.summary()["repaired"] == {}
    written = [(r["row"], r["action"]) for r in map(json.loads, again.path.read_text().splitlines())]
    assert written == [(1, REPAIRED), (5, REPAIRED), (5, QUARANTINED), (1, QUARANTINED)]


@pytest.mark.parametrize("of_repaired", [0, 1])
def test_a_row_that_ranks_treat_differently_counts_as_quarantined(index, tmp_path, of_repaired):
    ranks = [Quarantine(index, tmp_path, rank=r, world=2) for r in range(2)]
    for rank, action in ((of_repaired, REPAIRED), (1 - of_repaired, QUARANTINED)):
        ranks[rank].write([ranks[rank].describe(fault) for fault in faults(3, action=action)])
    summary = ranks[0].summary(ranks[0].records + ranks[1].records)
    assert (list(summary["quarantined"]), list(summary["repaired"])) == (["corrupt"], [])


def test_rank_0_speaks_for_ranks_that_are_gone(index, tmp_path):
    met = {0: (1,), 1: (3,), 2: (1, 50), 3: (51,), 10: (53,)}
    for rank, rows in met.items():
        of_rank = Quarantine(index, tmp_path, rank=rank, world=11)
        of_rank.write([of_rank.describe(fault) for fault in faults(*rows)])

    def rows_known(world: int) -> list[list[int]]:
        ranks = [Quarantine(index, tmp_path, rank=rank, world=world) for rank in range(world)]
        return [[record["row"] for record in rank.records] for rank in ranks]

    assert rows_known(2) == [[1, 50, 51, 53, 1], [3]]
    assert rows_known(3) == [[51, 53, 1], [3], [1, 50]]
    corrupt = Quarantine(index, tmp_path).summary()["quarantined"]["corrupt"]
    assert corrupt["train"] == {"control": 0, "lens": 2}
    assert corrupt["val"] == {"control": 1, "lens": 2}


def test_a_clean_run_writes_no_file(index, tmp_path):
    quarantine = Quarantine(index, tmp_path / "quarantine")
    quarantine.write([])
    assert not (tmp_path / "quarantine").exists()


def test_the_summary_counts_by_reason_split_and_class(index, tmp_path):
    ranks = [Quarantine(index, tmp_path, rank=r) for r in range(2)]
    ranks[0].write([ranks[0].describe(f) for f in faults(1, 50) + faults(3, reason="missing_band")])
    ranks[1].write([ranks[1].describe(f) for f in faults(1) + faults(4, action=REPAIRED, reason="nonfinite")])
    summary = ranks[0].summary(ranks[0].records + ranks[1].records)
    none = {"control": 0, "lens": 0}
    assert summary == {
        "quarantined": {
            "corrupt": {"train": {"control": 0, "lens": 1}, "val": {"control": 1, "lens": 0}, "test": none},
            "missing_band": {"train": {"control": 0, "lens": 1}, "val": none, "test": none},
        },
        "repaired": {"nonfinite": {"train": {"control": 1, "lens": 0}, "val": none, "test": none}},
        "excluded": {"cutout_not_ok": {"train": {"control": 1, "lens": 0}, "val": none, "test": none}},
        "rows": {
            "train": {"control": 23, "lens": 24},
            "val": {"control": 12, "lens": 12},
            "test": {"control": 12, "lens": 12},
        },
        "limit": 0.001,
    }
    assert set(ranks[1].summary()["quarantined"]) == {"corrupt"}


def test_one_bad_row_never_stops_a_run(index, tmp_path):
    quarantine = Quarantine(index, tmp_path, limit=0.0)
    review = QuarantinePass(quarantine, "train", 48)
    add(review, quarantine, ALTERNATING, faults(1))
    review.close()


def test_more_bad_rows_than_the_limit_stop_the_run(index, tmp_path):
    quarantine = Quarantine(index, tmp_path, limit=0.02)
    review = QuarantinePass(quarantine, "train", 200)
    add(review, quarantine, ALTERNATING, faults(0, 1, 3, 4))
    with pytest.raises(QuarantineLimitError, match="5 of the 200 stamps of this pass are unusable") as caught:
        add(review, quarantine, ALTERNATING, faults(6))
    assert "data.quarantine_limit=0.02" in str(caught.value)
    assert str(quarantine.path) in str(caught.value)


def test_repaired_rows_do_not_count_against_the_limit(index, tmp_path):
    quarantine = Quarantine(index, tmp_path, limit=0.0)
    review = QuarantinePass(quarantine, "train", 100)
    add(review, quarantine, ALTERNATING, faults(*range(1, 40), action=REPAIRED, reason="nonfinite"))
    review.close()
    assert len(quarantine.records) == 39


def test_bad_rows_of_one_class_only_stop_the_run_at_the_end_of_the_pass(index, tmp_path):
    quarantine = Quarantine(index, tmp_path, limit=0.5)
    review = QuarantinePass(quarantine, "train", 100)
    add(review, quarantine, ALTERNATING, faults(*range(1, 41, 2)))
    with pytest.raises(QuarantineLimitError, match="0 of 50 stamps of class control, 20 of 50 stamps of class lens"):
        review.close()


def test_bad_rows_of_both_classes_alike_pass(index, tmp_path):
    quarantine = Quarantine(index, tmp_path, limit=0.5)
    review = QuarantinePass(quarantine, "train", 100)
    add(review, quarantine, ALTERNATING, faults(*range(3, 43)))
    review.close()


@pytest.mark.parametrize("n_bad_lenses", [500, 1_500])
def test_a_difference_that_changes_nothing_passes_however_certain(index, tmp_path, n_bad_lenses):
    """Of five million each, 100 controls and 500 lenses: fewer than 1 in 10,000, but by chance as likely as 7e-65."""
    quarantine = Quarantine(index, tmp_path)
    bad = ["control"] * 100 + ["lens"] * n_bad_lenses
    records = [{"row": row, "class": name, "action": QUARANTINED} for row, name in enumerate(bad)]
    review = QuarantinePass(quarantine, "train", 10_000_000)
    review.add(np.arange(10_000_000, dtype=np.int8) % 2, records)
    if n_bad_lenses == 500:
        review.close()
    else:
        with pytest.raises(QuarantineLimitError, match="100 of 5000000 stamps of class control, 1500 of 5000000"):
            review.close()


def test_a_pass_that_goes_on_counts_what_was_met_before_it_was_interrupted(index, tmp_path):
    first = Quarantine(index, tmp_path, limit=0.02)
    add(QuarantinePass(first, "train", 200), first, ALTERNATING, faults(0, 1, 3))
    resumed = Quarantine(index, tmp_path, limit=0.02)
    resumed.add_counts(json.loads(json.dumps(first.counts())))
    review = QuarantinePass(resumed, "train", 200, goes_on=True)
    add(review, resumed, ALTERNATING, faults(4))
    with pytest.raises(QuarantineLimitError, match="5 of the 200 stamps"):
        add(review, resumed, ALTERNATING, faults(6))
    add(QuarantinePass(resumed, "train", 200), resumed, ALTERNATING, faults(0, 1, 3, 4))  # another epoch


def test_a_batch_without_a_good_stamp_stops_the_run(index, tmp_path):
    quarantine = Quarantine(index, tmp_path, limit=0.5)
    review = QuarantinePass(quarantine, "val", 24)
    with pytest.raises(QuarantineLimitError, match="not one of the 2 stamps of a batch is usable"):
        add(review, quarantine, ALTERNATING[:2], faults(48, 49))
