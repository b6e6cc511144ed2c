"""`halo score` as a user runs it: interrupted, in several processes, over bad stamps, on any parquet."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dark_halo_scope.evaluation.scores import read_scores
from dark_halo_scope.scoring.job import ScoringError
from dark_halo_scope.scoring.run import score
from dark_halo_scope.stamps.codec import encode_stamp
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from dark_halo_scope.stamps.unlabelled import ParquetStamps
from dark_halo_scope.tasks.restore import load_task
from tests.scoring.checkpoints import write_checkpoint
from tests.scoring.jobs import HALO, ON_THE_CPU, job, machine, scored
from tests.stamps.cutouts import write_cube
from tests.stamps.datasets import SCHEMA, Row, stamp_image, write_dataset

CORRUPT, PATCHY, UNUSABLE = 50, 61, 70  # rows


def spoil(number: int, row: Row) -> None:
    if number == CORRUPT:
        row["stamp_npz"] = row["stamp_npz"][:5000]
    if number == PATCHY:
        image = stamp_image(number, is_lens=True)
        image[1, 3, 4:7] = np.nan
        row["stamp_npz"] = encode_stamp(image)
    if number == UNUSABLE:
        row["cutout_ok"] = 0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "stamps", change=spoil)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return write_checkpoint(folder / "a.ckpt", seed=1), write_checkpoint(folder / "b.ckpt", 2, "mad_clip")


def command(out: Path, data: Path, *checkpoints: Path, devices: int) -> list[str]:
    sizes = ["--batch-size", "4", "--part-stamps", "6", "--tta", "d4", "--precision", "32-true"]
    return [*HALO, "score", *map(str, checkpoints), str(data), "--out", str(out), "--devices", str(devices), *sizes]


def workers(pid: int) -> list[int]:
    """Processes that score for a process."""
    children = "".join(of_thread.read_text() for of_thread in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_compiling_changes_no_score(tmp_path, data, checkpoints, monkeypatch):
    """As on a GPU, with a backend that needs no compiler; transforms and network are traced, once for all batches."""
    plain = torch.compile
    monkeypatch.setattr(torch, "compile", lambda what, **options: plain(what, backend="aot_eager", **options))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    tables = {}
    for compiled in (False, True):
        out = tmp_path / f"{compiled}.parquet"
        scored(out, data, checkpoints[0], batch_size=24, part_stamps=48, compiled=compiled)
        tables[compiled], _ = read_scores(out)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert not torch._dynamo.utils.counters["graph_break"]
    assert tables[True]["row"].equals(tables[False]["row"])
    np.testing.assert_allclose(tables[True]["logit"], tables[False]["logit"], rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()
    with pytest.raises(ScoringError, match="another compiled"):
        scored(tmp_path / "False.parquet", data, checkpoints[0], batch_size=24, part_stamps=48, compiled=True)


@pytest.mark.slow
def test_killed_in_two_processes_and_resumed_in_one_equals_one_uninterrupted(tmp_path, data, checkpoints):
    whole, killed = tmp_path / "whole.parquet", tmp_path / "killed.parquet"
    scored(whole, data, *checkpoints, batch_size=4, part_stamps=6, tta="d4")
    process = subprocess.Popen(
        command(killed, data, *checkpoints, devices=2), stdout=subprocess.DEVNULL, env=ON_THE_CPU
    )
    parts = tmp_path / ".killed.parquet.parts"
    first_of_each = [parts / f"part-{number:06d}.parquet" for number in (0, 8)]
    wait_until(lambda: all(part.exists() for part in first_of_each))
    orphans = workers(process.pid)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(orphans) == 2
    wait_until(lambda: not any(Path(f"/proc/{orphan}").exists() for orphan in orphans))
    assert 2 <= len(list(parts.glob("part-*"))) < 16
    assert not killed.exists()

    done = subprocess.run(
        command(killed, data, *checkpoints, devices=1), capture_output=True, text=True, check=True, env=ON_THE_CPU
    )
    assert re.search(r"^[\d,]+ stamps/s on 1 x CPU", done.stdout)
    assert "94 stamps scored" in done.stdout
    assert "quarantined: not_a_zip: 1 rows" in done.stdout
    assert "excluded: cutout_not_ok: 1 rows" in done.stdout
    assert killed.read_bytes() == whole.read_bytes()
    assert not parts.exists()
    ids = read_scores(killed)[0]["stamp_id"].to_pylist()
    assert ids == [f"s{row:06d}" for row in range(96) if row not in (CORRUPT, UNUSABLE)]


@pytest.mark.slow
def test_a_killed_worker_is_told_and_what_is_finished_is_kept(tmp_path, data, checkpoints):
    asked = job(data, *checkpoints, batch_size=4, part_stamps=2, tta="d4")
    out = tmp_path / "scores.parquet"
    with ThreadPoolExecutor(1) as pool:
        scoring = pool.submit(score, asked, replace(machine(), devices=2), out, progress=False)
        wait_until(lambda: any((tmp_path / ".scores.parquet.parts").glob("part-*")))
        os.kill(workers(os.getpid())[0], signal.SIGKILL)
        with pytest.raises(ScoringError, match="a scoring process was killed"):
            scoring.result()
    assert any((tmp_path / ".scores.parquet.parts").glob("part-*"))
    score(asked, machine(), out, progress=False)
    assert len(read_scores(out)[0]) == 94


def test_a_corrupt_cutout_is_told_and_not_scored(tmp_path, data, checkpoints):
    out = tmp_path / "scores.parquet"
    done = scored(out, data, checkpoints[0])
    table, provenance = read_scores(out)
    assert provenance == done.provenance
    assert provenance["counts"] == {
        "scored": 94,
        "quarantined: not_a_zip": 1,
        "repaired: nonfinite": 1,
        "excluded: cutout_not_ok": 1,
    }
    assert not {CORRUPT, UNUSABLE} & set(table["row"].to_pylist())
    told = [json.loads(line) for line in (tmp_path / "scores.parquet.quarantine.jsonl").read_text().splitlines()]
    assert [(line["row"], line["action"], line["reason"]) for line in told] == [
        (CORRUPT, "quarantined", "not_a_zip"),
        (PATCHY, "repaired", "nonfinite"),
    ]
    assert told[0]["metadata"]["stamp_id"] == "s000050"
    assert told[0]["file"] == "part-001.parquet"
    assert told[0]["row_in_file"] == CORRUPT - 48


def test_logits_are_the_mean_over_checkpoints_and_orientations(tmp_path, data, checkpoints):
    scored(tmp_path / "scores.parquet", data, *checkpoints, tta="d4")
    table, provenance = read_scores(tmp_path / "scores.parquet")
    row = 8
    image = torch.from_numpy(stamp_image(row, is_lens=False))
    turned = [torch.rot90(flipped, k, (1, 2)) for flipped in (image, image.flip(2)) for k in range(4)]
    members = []
    for checkpoint in checkpoints:
        with torch.no_grad():
            members.append(load_task(checkpoint)(torch.stack(turned)).mean().item())
    stamp = table.slice(row, 1).to_pylist()[0]
    assert stamp["row"] == row
    assert [stamp["logit_1"], stamp["logit_2"]] == pytest.approx(members, abs=1e-5)
    assert stamp["logit"] == pytest.approx(np.mean(members), abs=1e-5)
    assert stamp["probability"] == pytest.approx(1 / (1 + np.exp(-np.mean(members) / 1.5)), abs=1e-5)
    assert provenance["calibration"]["of"] == "mean of the members' calibrated logits"
    assert len(set(provenance["checkpoint_sha256"])) == 2


def test_labelled_data_keep_labels_splits_and_fingerprint(tmp_path, data, checkpoints):
    done = scored(tmp_path / "scores.parquet", data, checkpoints[0], split="test")
    table, _ = read_scores(tmp_path / "scores.parquet")
    index = StampIndex.build(str(data))
    assert table["row"].to_pylist() == index.rows("test").tolist()
    assert set(table["split"].to_pylist()) == {"test"}
    np.testing.assert_array_equal(table["label"].to_numpy(), index.label[index.rows("test")])
    assert done.provenance["data_fingerprint"] == index.fingerprint


def test_parquet_without_labels_keeps_its_columns(tmp_path, checkpoints):
    columns = ["stamp_id", "stamp_npz", "ra", "dec"]
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    survey = write_dataset(tmp_path / "survey", n_train=9, n_val=0, n_test=0, n_files=2, schema=schema)
    scored(tmp_path / "scores.parquet", survey, checkpoints[0])
    table, _ = read_scores(tmp_path / "scores.parquet")
    assert table.column_names == ["row", "split", "label", "logit", "probability", "stamp_id", "ra", "dec"]
    assert table["label"].null_count == table["split"].null_count == 9
    with pytest.raises(ContractError, match="no column region_split"):
        scored(tmp_path / "test.parquet", survey, checkpoints[0], split="test")
    pq.write_table(pa.table({"ra": [1.0]}), survey / "part-003.parquet")
    with pytest.raises(ContractError, match=r"part-003.parquet: no column stamp_npz"):
        ParquetStamps.find(str(survey))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_training_store_is_scored_as_the_raw_stamps(tmp_path, data, checkpoints, precision):
    prepare(str(data), tmp_path / "store", StoreOptions(precision=precision, quarantine_limit=0.02), progress=False)
    tables = []
    for name, root in (("raw", data), ("store", tmp_path / "store")):
        scored(tmp_path / f"{name}.parquet", root, checkpoints[0])
        tables.append(read_scores(tmp_path / f"{name}.parquet")[0].sort_by("stamp_id"))
    assert tables[0]["stamp_id"] == tables[1]["stamp_id"]
    tolerance = 1e-5 if precision == "float32" else 0.05
    np.testing.assert_allclose(tables[0]["logit"], tables[1]["logit"], atol=tolerance)


def test_fits_cutouts_are_scored_as_the_same_stamps_in_parquet(tmp_path, data, checkpoints):
    for row in range(8):
        write_cube(tmp_path / "cutouts" / f"s{row:06d}.fits", stamp_image(row, is_lens=row % 2 == 1))
    cut_short = tmp_path / "cutouts" / "s000003.fits"
    cut_short.write_bytes(cut_short.read_bytes()[:20000])
    done = scored(tmp_path / "fits.parquet", tmp_path / "cutouts", checkpoints[0])
    scored(tmp_path / "parquet.parquet", data, checkpoints[0])
    table = read_scores(tmp_path / "fits.parquet")[0]
    stamps = read_scores(tmp_path / "parquet.parquet")[0].slice(0, 8).take([0, 1, 2, 4, 5, 6, 7])
    assert table["stamp_id"] == stamps["stamp_id"]
    np.testing.assert_allclose(table["logit"], stamps["logit"], atol=1e-5)  # in batches of 7 and of 8
    assert done.provenance["counts"]["quarantined: corrupt"] == 1


def test_finished_scores_are_left_alone_and_others_never_overwritten(tmp_path, data, checkpoints):
    out = tmp_path / "scores.parquet"
    first = scored(out, data, checkpoints[0])
    before = out.stat().st_mtime_ns
    again = scored(out, data, checkpoints[0])
    assert again.stamps_per_s is None
    assert again.provenance == first.provenance
    assert out.stat().st_mtime_ns == before
    with pytest.raises(ScoringError, match=r"is there already and holds other scores \(another checkpoint_sha256"):
        scored(out, data, checkpoints[1])


def test_parts_of_another_job_are_not_mixed_in(tmp_path, data, checkpoints):
    out = tmp_path / "scores.parquet"
    folder = tmp_path / ".scores.parquet.parts"
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps({"tta": "d4"}))
    with pytest.raises(ScoringError, match=r"holds the beginning of other scores \(another .*tta"):
        scored(out, data, checkpoints[0])


def test_probabilities_of_an_ensemble_may_be_calibrated_on_its_own_scores(tmp_path, data, checkpoints):
    scored(tmp_path / "labelled.parquet", data, *checkpoints)
    out = tmp_path / "calibrated.parquet"
    done = scored(out, data, *checkpoints, calibrate_on=tmp_path / "labelled.parquet")
    (calibrator,) = done.provenance["calibration"]["calibrators"]
    table, _ = read_scores(out)
    expected = 1 / (1 + np.exp(-table["logit"].to_numpy().astype(float) / calibrator["temperature"]))
    np.testing.assert_allclose(table["probability"], expected)
    assert calibrator["temperature"] != 1.5
    with pytest.raises(ScoringError, match="holds scores of another checkpoint_sha256"):
        scored(tmp_path / "x.parquet", data, checkpoints[0], calibrate_on=tmp_path / "labelled.parquet")


def test_without_a_calibrator_there_is_no_probability(tmp_path, data, checkpoints):
    raw = write_checkpoint(tmp_path / "last.ckpt", calibrator=None)
    done = scored(tmp_path / "scores.parquet", data, checkpoints[0], raw, split="val")
    table, _ = read_scores(tmp_path / "scores.parquet")
    assert table["probability"].null_count == len(table)
    assert done.provenance["calibration"]["of"].startswith("nothing")


def test_a_part_of_bad_stamps_only_is_finished(tmp_path, checkpoints):
    def break_first(number: int, row: Row) -> None:
        if number < 10:
            row["stamp_npz"] = b"no npz"

    survey = write_dataset(tmp_path / "survey", change=break_first)
    done = scored(tmp_path / "scores.parquet", survey, checkpoints[0], part_stamps=10)
    assert done.provenance["counts"]["scored"] == 86
    assert read_scores(tmp_path / "scores.parquet")[0]["row"].to_pylist() == list(range(10, 96))


def test_a_network_that_gives_nan_is_refused(tmp_path, data):
    broken = write_checkpoint(tmp_path / "broken.ckpt")
    content = torch.load(broken, weights_only=True)
    content["state_dict"]["network.head.1.bias"].fill_(float("nan"))
    torch.save(content, broken)
    with pytest.raises(ScoringError, match="logits of 20 stamps are not finite"):
        scored(tmp_path / "scores.parquet", data, broken)
