"""`halo review` on a real run: GO with reasons, and each planted fault named by the question that fails."""

import argparse
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import OmegaConf

from dark_halo_scope.commands import review
from dark_halo_scope.configuration import EXIT_REFUSED, plain_errors
from dark_halo_scope.evaluation.scores import read_scores, write_scores
from dark_halo_scope.review.case import Case
from dark_halo_scope.review.questions import QUESTIONS
from dark_halo_scope.review.review import GO, NO_GO
from dark_halo_scope.review.scoring import compare_precision, logits
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from tests.audit.planting import replaced, rows_where, with_images, write
from tests.runs import train

SURVEY = ["survey.regions={train:12,val:9,test:9}", "survey.stamps_per_region=24", "audit.mode=warn"]
SMALL = ["experiment=lens_small_cnn", "trainer.max_epochs=2", "data.batch_size=16", "logger=csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("review")


@pytest.fixture(scope="module")
def good(folder: Path) -> Path:
    """A finished run on a clean survey."""
    done = train(folder, *SURVEY, *SMALL, "run_name=good")
    assert done.returncode == 0, done.stderr
    return folder / "logs" / "lens_small_cnn" / "good"


@pytest.fixture(scope="module")
def table(good: Path) -> pa.Table:
    """The survey it was trained on."""
    root = Path(OmegaConf.load(good / "config.yaml").data.root)
    return pq.read_table(sorted(root.glob("*.parquet")))


@pytest.fixture(scope="module")
def reviewed(good: Path, folder: Path) -> Path:
    """The review of the good run."""
    halo(good, "--out", folder / "good", "--strict")
    return folder / "good"


def halo(*words: object) -> None:
    parser = argparse.ArgumentParser()
    review.add(parser.add_subparsers())
    arguments = parser.parse_args(["review", *map(str, words)])
    with plain_errors():
        arguments.run(arguments, [])


def answers(out: Path) -> dict[int, dict]:
    return {answer["number"]: answer for answer in json.loads((out / "review.json").read_text())["questions"]}


def judged(run: Path, out: Path, *words: object) -> dict:
    halo(run, "--out", out, *words)
    return json.loads((out / "review.json").read_text())


def failing(record: dict, number: int) -> dict[str, str]:
    """The checks of a question that fail, with what was found."""
    checks = record["questions"][number - 1]["checks"]
    return {check["name"]: check["finding"] for check in checks if check["verdict"] == "fail"}


def column(path: Path, name: str) -> list[str]:
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    return [row[header.index(name)] for row in rows if row[header.index(name)]]


def copy_of(run: Path, out: Path) -> Path:
    return Path(shutil.copytree(run, out / run.name))


def with_checkpoint(run: Path, change: Callable[[dict], None]) -> None:
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def test_a_good_run_is_a_go_with_reasons(reviewed: Path):
    record = json.loads((reviewed / "review.json").read_text())
    assert (record["verdict"], record["stopped_by"], record["tally"]["fail"]) == (GO, [], [])
    assert [answer["number"] for answer in record["questions"]] == list(range(1, 27))
    for answer in record["questions"]:
        assert answer["checks"], answer["title"]
        for check in answer["checks"]:
            assert check["finding"]
            assert check["verdict"] == "pass" or check["remedy"] or check["command"], check
    measured = {n for n, answer in answers(reviewed).items() if answer["verdict"] != "not measured"}
    assert {q.number for q in QUESTIONS if q.critical} <= measured
    assert {20, 24}.isdisjoint(measured)  # nothing of the kind was made


def test_what_was_measured_is_what_the_files_say(reviewed: Path, good: Path, table: pa.Table):
    found = {(n, check["name"]): check for n, answer in answers(reviewed).items() for check in answer["checks"]}
    metrics = json.loads((good / "metrics.json").read_text())
    assert found[12, "Ranking"]["value"] == metrics["test"]["auroc"]
    assert found[1, "Same bits as np.load"]["value"] == 1.0
    assert found[3, "Sky"]["value"] == 0.0
    assert found[21, "Scored again"]["value"] < 1e-4
    n_train = len(rows_where(table, split="train"))
    for world in (1, 2, 4, 8):
        assert found[15, f"{world} rank{'s' if world > 1 else ''}"]["value"] == n_train // 16
    assert f"{table.num_rows} = " in found[23, "Rows of the dataset"]["finding"]
    norms = np.array([float(v) for v in column(good / "csv" / "version_0" / "metrics.csv", "train/grad_norm")])
    assert found[10, "Clip"]["value"] == pytest.approx((norms > 1.0).mean())


def test_page_and_markdown_tell_the_same_and_link_to_files_that_are_there(reviewed: Path):
    page, markdown = (reviewed / "review.html").read_text(), (reviewed / "review.md").read_text()
    for question in QUESTIONS:
        assert f'id="q{question.number}"' in page
        assert f"### {question.number}. {question.title}" in markdown
    for link in {*re.findall(r'class="source" href="([^"]+)"', page), *re.findall(r"\]\(([^)]+)\)", markdown)}:
        assert (reviewed / link).exists(), link
    assert "<svg" in page
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)


def test_a_leak_fails_the_validation(good: Path, table: pa.Table, tmp_path: Path):
    host = table["host_id"][rows_where(table, split="train")[3]].as_py()
    root = write(replaced(table, "host_id", {rows_where(table, split="test")[5]: host}), tmp_path / "data")
    record = judged(good, tmp_path / "out", "--data", root)
    assert record["verdict"] == NO_GO
    assert 13 in record["stopped_by"]
    assert f"{host} in train and test" in failing(record, 13)["Hosts in two splits"]


def test_a_shortcut_fails_the_controls(good: Path, table: pa.Table, tmp_path: Path):
    radius = np.hypot(*(np.indices((64, 64)) - 31.5))
    brighter = np.stack([1 + 0.8 * (radius < 4), np.ones((64, 64)), np.ones((64, 64))])
    root = write(with_images(table, rows_where(table, lens=True), lambda image: image * brighter), tmp_path / "data")
    record = judged(good, tmp_path / "out", "--data", root)
    assert (record["verdict"], record["stopped_by"]) == (NO_GO, [18])
    assert failing(record, 18)["One number of a stamp"].startswith("core flux r < 5 px, g/")


def test_a_validation_of_one_class_fails(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = copy_of(good, tmp_path)
    scores, origin = read_scores(run / "scores.parquet")
    columns = zip(scores["split"].to_pylist(), scores["label"].to_pylist(), strict=True)
    kept = [not (split == "val" and label == 1) for split, label in columns]
    write_scores(run / "scores.parquet", scores.filter(pa.array(kept)), origin)
    with pytest.raises(SystemExit) as exit_:
        halo(run, "--strict")
    assert exit_.value.code == 1
    record = json.loads((run / "review" / "review.json").read_text())
    assert 13 in record["stopped_by"]
    assert failing(record, 13)["Both classes in val"].startswith("0 lenses")
    assert "question 13 fails" in capsys.readouterr().out
    assert failing(record, 23).keys() == {"Rows of val"}  # and that they went missing is seen too
    assert "Score file" in failing(record, 21)


def test_a_saturating_normalisation_fails(good: Path, tmp_path: Path):
    run = copy_of(good, tmp_path)
    clip = {"_target_": "dark_halo_scope.transforms.normalise.MadClip", "clip": 10.0}

    def change(content: dict) -> None:
        content["config"]["transforms"]["normalise"] = content["preprocessing"]["normalise"] = clip

    with_checkpoint(run, change)
    config = OmegaConf.load(run / "config.yaml")
    config.transforms.normalise = clip
    OmegaConf.save(config, run / "config.yaml")
    record = judged(run, tmp_path / "out")
    assert record["verdict"] == NO_GO
    assert 2 in record["stopped_by"]
    assert failing(record, 2).keys() == {"Saturated cores"}
    assert 21 in record["stopped_by"]  # nor are these the logits of the score file


def test_a_rate_that_the_sample_cannot_support_fails(good: Path, tmp_path: Path):
    run = copy_of(good, tmp_path)
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["unsupported"]["tpr_at_fpr_1e-4"]
    (run / "metrics.json").write_text(json.dumps(metrics))

    def change(content: dict) -> None:
        point = next(point for point in content["thresholds"] if point["name"] == "fpr_1e-3")
        point |= {"supported": True, "logit": 3.0}

    with_checkpoint(run, change)
    record = judged(run, tmp_path / "out")
    assert (record["verdict"], record["stopped_by"]) == (NO_GO, [14])
    (found,) = failing(record, 14).values()
    assert "metrics.json gives tpr_at_fpr_1e-4 with 0.0 expected false positives" in found
    assert "best.ckpt has a threshold for FPR 0.001 with 0.1 expected false positives" in found


def test_a_folder_that_is_no_finished_run_is_refused(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = copy_of(good, tmp_path)
    (run / "metrics.json").unlink()
    with pytest.raises(SystemExit) as exit_:
        halo(run)
    assert exit_.value.code == EXIT_REFUSED
    assert f"{run} is no finished run (it lacks metrics.json)" in capsys.readouterr().err


def test_of_a_training_store_the_precision_and_the_reading_are_judged(good: Path, tmp_path: Path):
    raw = str(OmegaConf.load(good / "config.yaml").data.root)
    prepare(raw, tmp_path / "store", StoreOptions(), progress=False)
    kept = json.loads((tmp_path / "store" / "store.json").read_text())["float16_error"]
    checks = {check.name: check for check in QUESTIONS[0].answer(Case(good, str(tmp_path / "store"), tmp_path)).checks}
    assert (checks["Pixels of the store"].verdict, checks["Pixels of the store"].value) == ("pass", kept["max"])
    assert checks["Same stamps as the raw data"].command == f"halo prepare {raw} {tmp_path / 'store'} --verify"
    assert checks["Decoding speed"].value > 0


def test_an_incomplete_checkpoint_fails(good: Path, tmp_path: Path):
    run = copy_of(good, tmp_path)
    with_checkpoint(run, lambda content: content.update(rng=None, thresholds=None))
    answer = QUESTIONS[21].answer(Case(run, None, tmp_path / "out"))
    assert answer.stops
    assert answer.checks[0].finding.endswith("it lacks random states, thresholds")


def test_seeds_matrix_and_known_lenses_are_found_where_they_were_made(good: Path, tmp_path: Path):
    run = copy_of(good, tmp_path / "logs" / "lens_small_cnn")
    for seed in (5, 6):
        other = Path(shutil.copytree(good, run.parent / f"seed{seed}"))
        (other / "config.yaml").write_text(
            re.sub(r"(?m)^seed: \d+$", f"seed: {seed}", (good / "config.yaml").read_text())
        )
    (run / "recovery").mkdir()
    known = {"counts": {"matched": 8, "not_scored": 2}, "missed": [{}, {}, {}], "decided_by": "fpr_1e-2"}
    (run / "recovery" / "recovery.json").write_text(json.dumps(known))
    fingerprint = json.loads((run / "provenance.json").read_text())["data_fingerprint"]
    lost = {"difference": {"mean": -0.2, "interval": [-0.3, -0.1]}, "verdict": "lower"}
    gained = {"difference": {"mean": -0.01, "interval": [-0.02, -0.005]}, "verdict": "lower"}
    matrix = {
        "data": {"fingerprint": fingerprint},
        "arms": [
            {"name": "reference", "leave_out": None, "degradation": None},
            {"name": "sie_to_sis", "leave_out": "x", "degradation": {"measures": {"auroc": lost}}},
            {"name": "sky", "leave_out": "y", "degradation": {"measures": {"deployed_fpr": gained}}},
        ],
    }
    folder = tmp_path / "logs" / "generalisation" / "lens_small_cnn"
    folder.mkdir(parents=True)
    (folder / "generalisation.json").write_text(json.dumps(matrix))
    case = Case(run, None, tmp_path / "out")
    validated, generalised = (QUESTIONS[number - 1].answer(case) for number in (19, 20))
    findings = {check.name: check.finding for check in validated.checks}
    assert validated.verdict == "pass"
    assert findings["Seeds"].startswith("3 finished runs")
    assert findings["Known lenses"].startswith("5 of 8 lie above the threshold fpr_1e-2")
    assert [check.verdict for check in generalised.checks] == ["concern", "pass"]  # fewer false positives are no loss
    assert generalised.checks[0].finding == "auroc -0.200 (-0.300 to -0.100)"


def test_mixed_precision_is_measured_on_the_network_itself(good: Path, tmp_path: Path):
    run = copy_of(good, tmp_path)
    origin = json.loads((run / "provenance.json").read_text())
    origin["hardware"] = "1 x CPU, 2 cores, bf16-mixed"
    (run / "provenance.json").write_text(json.dumps(origin))
    case = Case(run, None, tmp_path / "out")
    found = compare_precision(case.task, case.few_stamps, "bf16-mixed")
    full = logits(case.task, case.few_stamps, "32-true")
    rounded = logits(case.task, case.few_stamps, "bf16-mixed")
    assert found.largest == pytest.approx(np.abs(full - rounded).max(), rel=1e-3)
    assert found.largest > 0
    assert found.gradient_cosine > 0.95
    assert QUESTIONS[15].answer(case).verdict in ("pass", "concern")
