"""`halo export`: files that say what PyTorch says, and a card that says what they cannot do."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dark_halo_scope.evaluation.calibration import IsotonicCalibration, calibrator_from_dict
from dark_halo_scope.evaluation.metrics import roc_counts, tpr_at_fpr
from dark_halo_scope.evaluation.scores import read_scores, write_scores
from dark_halo_scope.export.card import write_card
from dark_halo_scope.export.finder import ExportError, Finder, calibration_module, write_onnx
from dark_halo_scope.export.losses import better, measure
from dark_halo_scope.export.run import Export, export
from dark_halo_scope.export.session import run_onnx
from dark_halo_scope.files import sha256
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.tasks.restore import load_task, read_checkpoint
from tests.evaluation.run_folder import make_run_folder
from tests.scoring.checkpoints import CALIBRATOR, write_checkpoint
from tests.scoring.jobs import HALO, ON_THE_CPU
from tests.stamps.datasets import SCHEMA, stamp_image, write_dataset

MEASURED = {
    "licence": "not stated",
    "opset": 20,
    "measured_on": {"data": "d", "fingerprint": "e", "n_validation": 9, "n_unusable": 0},
    "fidelity": {"n_stamps": 9, "max_logit_difference": 1e-6, "max_probability_difference": 1e-7},
    "int8": {
        "chosen": "static",
        "n_training": 9,
        "measured": {
            "static": measure(
                np.arange(8, dtype=np.float32), np.arange(8, dtype=np.float32)[::-1], np.arange(8) % 2, None
            )
        },
    },
    "exported_with": {"package": "0.1.0", "commit": None, "dirty": None, "versions": {"onnx": "1"}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return write_dataset(folder / "stamps", n_train=24, n_val=96, n_test=12, rows_per_region=8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run" / "checkpoints"
    fingerprint = StampIndex.build(str(data)).fingerprint
    return write_checkpoint(folder / "best.ckpt", data=data, data_fingerprint=fingerprint, epoch=4)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> tuple[Path, str]:
    """The folder that the command makes, and what it prints."""
    out = tmp_path_factory.mktemp("exported") / "finder"
    command = [*HALO, "export", str(checkpoint), str(out), "--licence", "CC-BY-4.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ON_THE_CPU)
    return out, done.stdout


def stamps(n: int) -> np.ndarray:
    return np.stack([stamp_image(1000 + k, is_lens=k % 2 == 1) for k in range(n)])


@pytest.mark.parametrize("n", [1, 3, 70])
def test_onnx_gives_the_logits_of_pytorch_for_any_batch(exported, checkpoint, n):
    out, _ = exported
    images = stamps(n)
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    logit, probability = session.run(["logit", "probability"], {"image": images})
    with torch.no_grad():
        expected = load_task(checkpoint)(torch.from_numpy(images)).numpy()
    assert np.abs(logit - expected).max() < 1e-4
    np.testing.assert_allclose(probability, calibrator_from_dict(CALIBRATOR).probability(expected), atol=1e-6)


def test_the_files_name_their_checkpoint_and_are_named_by_the_card(exported, checkpoint):
    out, told = exported
    card = json.loads((out / "model_card.json").read_text())
    model = onnx.load(out / "model.onnx")
    assert {prop.key: prop.value for prop in model.metadata_props}["checkpoint_sha256"] == sha256(checkpoint)
    assert {name: entry["sha256"] for name, entry in card["files"].items()} == {
        name: sha256(out / name) for name in ("model.onnx", "model.int8.onnx")
    }
    assert card["fidelity"]["max_logit_difference"] < 1e-4
    assert card["fidelity"]["n_stamps"] == 96
    assert card["calibrated_on"] == {"n_lenses": 100, "n_controls": 300, "prevalence": 0.25}  # not those at hand
    assert "logits within" in told
    assert re.search(r"int8 \((static|dynamic)\): TPR at FPR 0.01 .* \(too few controls to say\)", told)


def test_int8_is_smaller_and_its_loss_is_what_the_card_says(exported, data):
    out, _ = exported
    card = json.loads((out / "model_card.json").read_text())["int8"]
    assert (out / "model.int8.onnx").stat().st_size < (out / "model.onnx").stat().st_size / 2
    rows = StampIndex.build(str(data)).rows("val")
    images = np.stack([stamp_image(int(row), is_lens=row % 2 == 1) for row in rows])
    tpr = [
        tpr_at_fpr(roc_counts(run_onnx(out / name, images)[0], rows % 2), 1e-1)
        for name in ("model.onnx", "model.int8.onnx")
    ]
    (_, loss) = card["measured"][card["chosen"]]["tpr"]
    assert (loss["before"], loss["after"]) == (tpr[0], tpr[1])
    assert loss["interval"] is not None
    assert not loss["supported"]  # 4.8 false positives are expected among 48 controls


def test_the_card_states_limits_that_nobody_measured(exported, data):
    out, _ = exported
    text = (out / "model_card.md").read_text()
    for sentence in (
        "license: CC-BY-4.0",
        "Known shortcuts: not measured.",
        "Not measured on a test split.",
        "raw nanomaggies",
        "of which 25.0\N{NARROW NO-BREAK SPACE}% are lenses",
        "the training data)",
        "Real lenses: completeness on a catalogue of known lenses",
    ):
        assert sentence in text
    snippet = re.search(r"```python\n(import numpy.*?)```", text, re.DOTALL)[1]
    names: dict = {}
    exec(snippet.replace('"model.onnx"', repr(str(out / "model.onnx"))), names)
    assert names["probability"].shape == (8,)


def test_the_card_takes_metrics_and_audit_of_this_checkpoint_and_these_data_only(tmp_path, checkpoint, data):
    run = make_run_folder(tmp_path / "run")
    file = run / "checkpoints" / "best.ckpt"
    file.parent.mkdir()
    file.write_bytes(checkpoint.read_bytes())
    content = read_checkpoint(file)
    gates = [{"name": "Colour", "verdict": "concern", "finding": "core g/z alone: AUC 0.97"}]
    record = {"dataset": {"fingerprint": content["data_fingerprint"]}, "verdict": "concern", "gates": gates}
    (run / "audit.json").write_text(json.dumps(record))
    facts = MEASURED | {"checkpoint": {"file": "best.ckpt", "sha256": sha256(file)}}
    out = tmp_path / "out"
    out.mkdir()
    assert write_card(out, file, content, facts)["test"] is None  # its scores are of another checkpoint

    table, origin = read_scores(run / "scores.parquet")
    write_scores(run / "scores.parquet", table, origin | {"checkpoint_sha256": sha256(file)})
    card = write_card(out, file, content, facts)
    test = json.loads((run / "metrics.json").read_text())["test"]
    text = (out / "model_card.md").read_text()
    assert f"| AUROC | {test['auroc']:.4f} |" in text
    assert "| TPR at FPR 1e-4 | not supported | needs 100000 controls" in text
    assert "**Colour** (concern): core g/z alone: AUC 0.97" in text
    assert card["audit"]["n_gates"] == 1
    other = write_card(out, file, content | {"data_fingerprint": "0" * 64}, facts)
    assert other["audit"] is None


def test_isotonic_calibration_and_the_other_normalisation_are_exported_too(tmp_path):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=400)
    state = IsotonicCalibration.fit(logits, rng.random(400) < 1 / (1 + np.exp(-2 * logits))).to_dict()
    ends = torch.tensor([-50.0, 0.1, 50.0])
    expected = calibrator_from_dict(state).probability(ends.numpy())
    np.testing.assert_allclose(calibration_module(state)(ends), expected, atol=1e-6)
    task = load_task(write_checkpoint(tmp_path / "best.ckpt", transforms="mad_clip", calibrator=state))
    finder = Finder(task)
    write_onnx(finder, tmp_path / "model.onnx", {})
    images = stamps(5)
    with torch.no_grad():
        wanted = finder.eval()(torch.from_numpy(images))
    for ours, theirs in zip(run_onnx(tmp_path / "model.onnx", images), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_variant_that_loses_less_at_a_supported_rate_is_kept():
    labels = np.arange(4000) % 2
    before = np.random.default_rng(1).normal(size=4000).astype(np.float32) + 2 * labels
    worse = before + np.random.default_rng(2).normal(size=4000).astype(np.float32)
    regions = np.arange(4000) // 100
    measured = {"static": measure(before, worse, labels, regions), "dynamic": measure(before, before, labels, regions)}
    assert better(measured) == "dynamic"
    assert all(loss["supported"] for loss in measured["static"]["tpr"])
    low, high = measured["static"]["tpr"][1]["interval"]
    assert 0 < low < measured["static"]["tpr"][1]["loss"] < high
    assert measured["dynamic"]["tpr"][0]["interval"] == (0, 0)


def test_what_cannot_be_exported_is_refused(tmp_path, checkpoint, data):
    def asked(file: Path, out: str = "out", where: Path | None = None) -> Export:
        return Export(file, tmp_path / out, str(where) if where else None, 10, "not stated")

    with pytest.raises(ExportError, match="has no calibrator"):
        export(asked(write_checkpoint(tmp_path / "last.ckpt", data=data, calibrator=None)))
    (tmp_path / "there").mkdir()
    with pytest.raises(ExportError, match="is there already"):
        export(asked(checkpoint, "there"))
    plain = write_dataset(tmp_path / "plain", n_train=4, n_val=2, n_test=2, schema=SCHEMA.remove(2))
    with pytest.raises(ExportError, match="no labels and splits"):
        export(asked(checkpoint, where=plain))
    only_train = write_dataset(tmp_path / "only_train", n_train=4, n_val=0, n_test=0)
    with pytest.raises(ContractError, match="no usable row of the split val"):
        export(asked(checkpoint, where=only_train))
    assert not (tmp_path / "out").exists()
