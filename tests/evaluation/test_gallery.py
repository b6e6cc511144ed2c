import base64
import io
import json
import re

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.image import imread

from dark_halo_scope.evaluation.gallery import choose, shown_columns, write_gallery
from dark_halo_scope.evaluation.rgb import band_grey, panels
from dark_halo_scope.evaluation.scores import ScoreFileError, read_scores, write_scores
from dark_halo_scope.files import sha256
from tests.evaluation.run_folder import draw_stamps, make_run_folder
from tests.evaluation.test_report import Page, words


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    run = make_run_folder(tmp_path_factory.mktemp("logs") / "lens" / "run", n_val=400, n_test=1000)
    return run / "scores.parquet"


@pytest.fixture(scope="module")
def written(scores, tmp_path_factory):
    out = tmp_path_factory.mktemp("gallery") / "gallery.html"
    return out, write_gallery(out, scores, draw_stamps, n=8)


def data_of(page: str):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_is_whole_and_refers_to_nothing_outside(written, scores):
    page = written[0].read_text()
    body = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    parsed = Page(body)
    assert parsed.open == []
    assert parsed.references == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert not re.search(r"https?://|@import|fetch\(|XMLHttpRequest", page)
    assert sha256(scores) in words(body)
    used = set(re.findall(r'element\("(\w+)"\)', page))
    assert used <= set(parsed.ids)


def test_it_shows_candidates_false_positives_and_missed_lenses(written, scores):
    data, chosen = data_of(written[0].read_text()), written[1]
    assert data["sha256"] == sha256(scores)
    table = read_scores(scores)[0].filter(pa.compute.field("split") == "test")
    logits, labels = table["logit"].to_numpy(), table["label"].to_numpy()
    assert (logits[labels == 0] >= np.float32(chosen.threshold)).mean() <= 0.01
    of_kind = {kind: [s for s in data["stamps"] if kind in s["kinds"]] for kind in data["kinds"]}
    assert [s["logit"] for s in of_kind["candidate"]] == pytest.approx(sorted(logits)[:-9:-1], rel=1e-5)
    assert {s["label"] for s in of_kind["false_positive"]} == {0}
    assert all(s["logit"] >= chosen.threshold - 1e-4 for s in of_kind["false_positive"])
    missed = table.filter(pa.array((labels == 1) & (logits < np.float32(chosen.threshold))))
    brightest = sorted(missed["arc_snr"].to_pylist())[:-9:-1]
    assert sorted((s["facts"]["arc_snr"] for s in of_kind["missed"]), reverse=True) == pytest.approx(
        brightest, rel=1e-5
    )
    assert len({s["id"] for s in data["stamps"]}) == len(data["stamps"]) == chosen.table.num_rows
    assert chosen.n_total["missed"] == missed.num_rows


def test_each_stamp_carries_its_own_five_panels(written):
    stamp = data_of(written[0].read_text())["stamps"][3]
    encoded = stamp["image"].removeprefix("data:image/png;base64,")
    image = (255 * imread(io.BytesIO(base64.b64decode(encoded)))[..., :3]).round().astype(np.uint8)
    np.testing.assert_array_equal(image, panels(draw_stamps(np.array([stamp["row"]]))[0]))


def test_what_gives_the_label_away_is_hidden_from_a_blind_grader(written):
    data = data_of(written[0].read_text())
    assert {"ra", "dec", "region_id", "psf_fwhm_used_r", "host_mag_r"} == set(data["blind"])
    assert {"theta_e_arcsec", "lens_model", "control_kind"} <= set(data["stamps"][0]["facts"]) | {"control_kind"}


def test_without_labels_there_are_candidates_only(scores, tmp_path):
    table, _ = read_scores(scores)
    for column, kind in (("label", pa.int8()), ("split", pa.string())):
        table = table.set_column(table.column_names.index(column), column, pa.nulls(table.num_rows, kind))
    write_scores(tmp_path / "new.parquet", table, {})
    write_gallery(tmp_path / "g.html", tmp_path / "new.parquet", draw_stamps, n=5)
    page = (tmp_path / "g.html").read_text()
    data = data_of(page)
    assert list(data["kinds"]) == ["candidate"]
    assert len(data["stamps"]) == 5
    assert "Without labels of lenses and of controls nothing is called found or missed" in words(page)


def test_a_threshold_and_a_split_by_hand(scores, tmp_path):
    chosen = write_gallery(tmp_path / "g.html", scores, draw_stamps, n=4, split="val", threshold=1.0)
    assert (chosen.threshold, chosen.told) == (1.0, "chosen by hand")
    assert set(chosen.table["split"].to_pylist()) == {"val"}
    with pytest.raises(ScoreFileError, match="no stamp of split 'train'"):
        write_gallery(tmp_path / "g.html", scores, draw_stamps, split="train")


def test_two_hundred_stamps_stay_below_fifteen_megabytes(scores, tmp_path):
    rows = np.arange(40)
    images = iter(np.tile(draw_stamps(rows), (6, 1, 1, 1)))
    chosen = write_gallery(tmp_path / "g.html", scores, lambda rows: np.array([next(images) for _ in rows]), n=70)
    n_bytes = (tmp_path / "g.html").stat().st_size
    assert 200 * n_bytes / chosen.table.num_rows < 15e6


def test_ids_that_do_not_tell_stamps_apart_give_way_to_rows(tmp_path):
    table = pa.table(
        {
            "row": [4, 9],
            "split": ["test", "test"],
            "label": pa.array([1, 0], pa.int8()),
            "logit": np.array([2, 1], np.float32),
            "probability": [0.9, 0.1],
            "stamp_id": ["same", "same"],
            "note": ["</script><b>", "plain"],
            "snr": [np.nan, 3.0],
            "flags": [[1], [2]],
        }
    )
    write_scores(tmp_path / "s.parquet", table, {})
    write_gallery(tmp_path / "g.html", tmp_path / "s.parquet", draw_stamps)
    data = data_of((tmp_path / "g.html").read_text())
    assert [stamp["id"] for stamp in data["stamps"]] == ["row-4", "row-9"]
    assert data["stamps"][0]["facts"] == {"note": "</script><b>"}
    assert shown_columns(table) == ["note", "snr"]
    assert data["numeric"] == ["snr"]


def test_a_sample_whose_best_score_is_a_control_still_has_a_threshold():
    table = pa.table({"logit": np.array([3, 2, 1], np.float32), "label": pa.array([0, 1, 0], pa.int8())})
    table = table.append_column("row", pa.array([0, 1, 2]))
    chosen = choose(table, n=3)
    assert chosen.threshold == 2.0
    assert chosen.kinds == [["candidate", "false_positive"], ["candidate"], ["candidate"]]


def test_a_few_known_lenses_among_candidates_need_a_threshold_to_be_missed():
    logits = np.array([3, 2, 1], np.float32)
    table = pa.table({"row": [0, 1, 2], "logit": logits, "label": pa.array([None, None, 1], pa.int8())})
    assert choose(table, n=3).kinds == [["candidate"]] * 3
    assert choose(table, n=3, threshold=1.5).kinds == [["candidate"], ["candidate"], ["candidate", "missed"]]


def test_a_band_is_grey_and_upright_and_its_bad_pixels_are_black():
    band = np.random.default_rng(0).normal(0, 0.01, (64, 64)).astype(np.float32)
    band[10, 20], band[30, 30] = 5.0, np.nan
    grey = band_grey(band)
    assert grey.shape == (64, 64, 3)
    assert grey[63 - 10, 20].tolist() == [255, 255, 255]
    assert grey[63 - 30, 30].tolist() == [0, 0, 0]
    assert 30 < np.median(grey) < 120


def test_every_grade_has_a_key_a_button_and_a_filter(written):
    page = written[0].read_text()
    keys = re.search(r"const gradeKeys = \{(.*?)\}", page)[1]
    grades = set(re.findall(r'"(\w+)"', keys))
    assert grades == set(re.findall(r'data-grade="(\w+)"', page)) == {"A", "B", "C", "no"}
    options = re.search(r'<select id="grade">(.*?)</select>', page, re.DOTALL)[1]
    assert grades <= set(re.findall(r'<option(?: value="(?=\w))?>?(\w+)', options))
