"""A whole run on a store, by the same key `data.root` as on the raw dataset."""

import json

import pyarrow.parquet as pq
from hydra.utils import instantiate

from dark_halo_scope.evaluation.scores import read_scores
from dark_halo_scope.run import run
from dark_halo_scope.sky.survey import simulate_survey
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from tests.runs import TINY, composed


def test_train_test_and_report_run_on_a_store(tmp_path):
    survey = simulate_survey(instantiate(composed(*TINY).survey, _convert_="all"), tmp_path / "raw", progress=False)
    prepare(str(survey), tmp_path / "store", StoreOptions(shard_stamps=60, row_group_stamps=16), progress=False)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    short = ["experiment=lens_small_cnn", "data.batch_size=8", "trainer.max_epochs=1", "logger=csv"]
    run(composed(*TINY, *short, f"data.root={tmp_path}/store", f"paths.run_dir={run_dir}"))
    assert 0 < json.loads((run_dir / "metrics.json").read_text())["test"]["auroc"] < 1
    assert (run_dir / "report.html").exists()
    scores, provenance = read_scores(run_dir / "scores.parquet")
    raw = pq.read_table([*survey.glob("*.parquet")], columns=["stamp_id", "region_split", "cutout_ok"]).to_pylist()
    usable = {r["stamp_id"] for r in raw if r["region_split"] in ("val", "test") and r["cutout_ok"] == 1}
    assert provenance["data_fingerprint"] == StampIndex.build(str(tmp_path / "store")).fingerprint
    assert sorted(scores["stamp_id"].to_pylist()) == sorted(usable)
