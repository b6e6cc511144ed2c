import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from dark_halo_scope.evaluation.baseline import BaselineError, baseline_margins, find
from tests.evaluation.score_files import SAMPLE, read, write


def trivial_scores(path, rows=slice(None), **columns):
    table = pa.table(
        {"row": SAMPLE.rows[rows], "label": SAMPLE.labels[rows]} | {k: v[rows] for k, v in columns.items()}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def test_the_margin_is_over_the_strongest_baseline_at_the_same_rate(tmp_path):
    rng = np.random.default_rng(0)
    weak, strong = (rng.normal(shift * SAMPLE.labels) for shift in (0.3, 1.0))
    path = trivial_scores(tmp_path / "trivial_scores.parquet", baseline_colour=weak, baseline_boosting=strong)
    (file,) = read(write(tmp_path / "a.parquet"))
    result = baseline_margins(file.table, path, "region_id", n_resamples=200)
    assert result["baselines"] == {
        "colour": pytest.approx(roc_auc_score(SAMPLE.labels, weak.astype(np.float32)), abs=1e-9),
        "boosting": pytest.approx(roc_auc_score(SAMPLE.labels, strong.astype(np.float32)), abs=1e-9),
    }
    margins = {margin["metric"]: margin for margin in result["margins"]}
    assert set(margins) == {"auroc", "ap", "pauc_fpr_1e-2", "tpr_at_fpr_1e-2", "tpr10"}
    auroc = margins["auroc"]
    assert auroc["baseline"] == "boosting"
    assert auroc["difference"] == pytest.approx(auroc["network"] - auroc["trivial"])
    assert auroc["interval"][0] < auroc["difference"] < auroc["interval"][1]


def test_a_network_that_is_the_baseline_has_no_margin(tmp_path):
    path = trivial_scores(tmp_path / "trivial_scores.parquet", baseline_same=SAMPLE.logits.astype(float))
    (file,) = read(write(tmp_path / "a.parquet"))
    for margin in baseline_margins(file.table, path, "region_id", n_resamples=50)["margins"]:
        assert margin["difference"] == 0
        assert margin["interval"] == [0, 0]


def test_an_audit_of_a_sample_is_compared_on_that_sample(tmp_path):
    path = trivial_scores(tmp_path / "t.parquet", slice(0, 1500), baseline_a=SAMPLE.logits.astype(float))
    (file,) = read(write(tmp_path / "a.parquet"))
    result = baseline_margins(file.table, path, "region_id", n_resamples=20)
    assert result["n_lenses"] + result["n_controls"] == 1500


def test_the_audit_of_another_dataset_is_refused(tmp_path):
    (file,) = read(write(tmp_path / "a.parquet"))
    flipped = pa.table({"row": SAMPLE.rows, "label": 1 - SAMPLE.labels, "baseline_a": np.zeros(SAMPLE.rows.size)})
    pq.write_table(flipped, tmp_path / "t.parquet")
    with pytest.raises(BaselineError, match="not of the stamps that were scored"):
        baseline_margins(file.table, tmp_path / "t.parquet", "region_id")
    nan = trivial_scores(tmp_path / "nan.parquet", baseline_a=np.full(SAMPLE.rows.size, np.nan))
    with pytest.raises(BaselineError, match=r"baseline a of .* is not finite for 2400 stamps"):
        baseline_margins(file.table, nan, "region_id")
    with pytest.raises(BaselineError, match=r"holds no trivial_scores\.parquet"):
        find(tmp_path / "empty")
