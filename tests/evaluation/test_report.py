import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dark_halo_scope.evaluation.examples import caption, choose_examples
from dark_halo_scope.evaluation.fitting import fit_on_validation
from dark_halo_scope.evaluation.report import write_report
from dark_halo_scope.evaluation.rgb import lupton_rgb, png_data_uri
from dark_halo_scope.evaluation.scores import ScoreFileError, read_scores
from dark_halo_scope.evaluation.summary import evaluate_run
from dark_halo_scope.pages.wording import (
    EN_DASH,
    grouped,
    number_interval,
    odds,
    p_value,
    percent,
    percent_interval,
    signed_interval,
    significant,
    significant_range,
)
from tests.evaluation.run_folder import NOTE, draw_stamps, make_run_folder, make_sample

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Checks that elements are closed in order and collects what a page refers to."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.references, self.ids, self.images_without_alt = [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.references += [value for key, value in attrs if key in ("src", "href", "xlink:href")]
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.images_without_alt += tag == "img" and not attributes.get("alt")
        self.images_without_alt += tag == "svg" and not attributes.get("aria-label")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def words(page: str) -> str:
    """Text of a page without markup, each run of white space as one space."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = make_run_folder(tmp_path_factory.mktemp("logs") / "lens_resnet18" / "run")
    return write_report(run, draw_stamps).read_text()


def test_the_page_is_well_formed_and_needs_nothing_else(page):
    parsed = Page(page)
    assert parsed.open == []
    assert parsed.images_without_alt == 0
    assert all(reference.startswith(("data:image/png;base64,", "#")) for reference in parsed.references)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(parsed.ids)
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", page)


def test_the_page_shows_the_numbers_of_the_run(page, tmp_path):
    text = words(page)
    metrics = json.loads((make_run_folder(tmp_path / "run") / "metrics.json").read_text())  # same seeds, same numbers
    assert f"{metrics['test']['auroc']:.3f}" in text
    assert number_interval(metrics["intervals"]["test"]["auroc"]) in text
    assert metrics["scores"]["sha256"] in text
    assert "python train.py experiment=lens_resnet18 seed=42" in text
    assert "missing band" in text
    assert "Not shown by" not in text
    assert page.count("<svg") == 13  # ROC, scores, reliability, six of completeness, two by region, two of training
    assert page.count("data:image/png") == 36


def test_what_the_sample_cannot_support_is_said(page):
    text = words(page).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "Completeness at FPR 0.1 % needs 10 000 controls for 10 expected false positives" in text
    assert "not given: 1.2 false positives expected among 1 181 validation controls" in text
    assert f"The data: {NOTE}." in text
    assert "whole regions of sky (region_id) were resampled" in text


def test_the_page_speaks_of_the_sky_of_regions_and_of_what_others_can_read(page):
    text = words(page).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "605 galaxies per square degree (target density of DESI luminous red galaxies" in text
    assert "1 in 10 000" in text
    assert "Do regions differ in" in text
    assert "One completeness for all regions" in text
    assert "selection_function.parquet" in text
    assert "resampled regions cannot show how far it may lie from the truth" in text
    assert "Margin over trivial baselines" not in text


def test_the_margin_over_trivial_baselines_is_shown_where_an_audit_is(tmp_path):
    run = make_run_folder(tmp_path / "run", n_val=300, n_test=1000)
    table = pq.read_table(run / "scores.parquet").select(["row", "label"])
    weak = table["label"].to_numpy() + np.random.default_rng(0).normal(size=table.num_rows)
    pq.write_table(table.append_column("baseline_core_colour", pa.array(weak)), run / "trivial_scores.parquet")
    evaluate_run(run, *fit_on_validation(read_scores(run / "scores.parquet")[0], "scores.parquet"), n_resamples=50)
    text = words(write_report(run).read_text())
    assert "Margin over trivial baselines" in text
    assert "core colour" in text
    assert "no scores of trivial baselines" not in text


def test_missing_inputs_are_said(tmp_path):
    drop = ("region_id", "theta_e_arcsec", "arc_snr", "control_kind")
    run = make_run_folder(tmp_path / "run", 300, 300, drop=drop, optional_files=False, method="isotonic")
    page = write_report(run).read_text()
    text = words(page)
    assert Page(page).open == []
    for sentence in (
        "The survey names no region, so stamps were resampled one by one",
        "Not shown by theta_e_arcsec, arc_snr: the survey does not hold these columns",
        "no scores of trivial baselines",
        "no column control_kind",
        "No metric history",
        "No record of excluded or quarantined stamps",
        "No provenance.json",
        "pixels of the survey were out of reach",
        "Isotonic regression",
        "threshold of best F1 stands in",
    ):
        assert sentence in text


def test_a_handful_of_stamps_still_makes_an_honest_page(tmp_path):
    run = make_run_folder(tmp_path / "run", n_val=24, n_test=24, n_regions=3)
    text = words(write_report(run, draw_stamps).read_text())
    assert "No ROC is drawn" in text
    assert "an interval needs at least 10 regions, the sample has 3" in text


def test_names_from_the_data_cannot_break_the_page(tmp_path):
    run = make_run_folder(tmp_path / "<run>", 200, 200)
    (run / "provenance.json").write_text(json.dumps({"command": "train.py '<script>alert(1)</script>'"}))
    page = write_report(run).read_text()
    assert "<script" not in page
    assert "&lt;run&gt;" in page


def test_metrics_of_another_score_file_are_refused(tmp_path):
    run = make_run_folder(tmp_path / "run", 200, 200)
    other = make_run_folder(tmp_path / "other", 202, 200)
    (run / "metrics.json").write_text((other / "metrics.json").read_text())
    with pytest.raises(ScoreFileError, match="computed from another score file"):
        write_report(run)


def test_examples_are_the_most_telling_stamps():
    sample = make_sample(400, 12, 0, seed=1)
    table = sample.metadata.append_column("row", pa.array(sample.rows)).append_column("label", pa.array(sample.labels))
    table = table.append_column("logit", pa.array(sample.logits)).append_column("probability", pa.array(sample.logits))
    found, fooled, missed = choose_examples(table, threshold=0.0, n=5)
    theta_e = found["stamps"]["theta_e_arcsec"].to_numpy()
    assert (np.diff(theta_e) > 0).all()
    assert theta_e[0] < 0.8 < 2.2 < theta_e[-1]
    assert fooled["stamps"]["logit"][0].as_py() == sample.logits[sample.labels == 0].max()
    lost = (sample.labels == 1) & (sample.logits < 0)
    assert missed["stamps"]["arc_snr"][0].as_py() == max(np.array(table["arc_snr"].to_pylist())[lost])
    assert found["n_total"] + missed["n_total"] == sample.labels.sum()
    assert len(found["stamps"]) == len(missed["stamps"]) == 5


def test_examples_without_metadata_go_by_score():
    table = pa.table({"row": [1, 2, 3], "label": [1, 1, 0], "logit": np.array([3, 1, -1], np.float32)})
    found, fooled, missed = choose_examples(table, threshold=0.0)
    assert found["stamps"]["logit"].to_pylist() == [1, 3]
    assert found["remark"] == "spread evenly over score"
    assert (fooled["n_total"], missed["n_total"]) == (0, 0)


def test_captions_say_what_is_known():
    stamp = {"row": 5, "label": 1, "probability": 0.9, "logit": 2.0, "lens_model": "SIE", "arc_snr": None}
    assert caption(stamp) == {"probability": 0.9, "logit": 2.0, "facts": ["SIE"], "place": "row 5"}
    control = {"row": 6, "label": 0, "probability": 0.1, "logit": -2.0, "control_kind": "edge_on", "theta_e_arcsec": 0}
    control |= {"ra": 10.0, "dec": -3.5, "psf_fwhm_used_r": 1.234}
    assert caption(control)["facts"] == ["edge on", "seeing 1.23″"]
    assert caption(control)["place"] == "10.0000 -3.5000"


def test_lupton_colours_tell_red_from_blue_and_stand_upright():
    stamp = np.zeros((3, 64, 64), np.float32)
    stamp[2, 10, 20] = 1.0  # red, low in the stamp
    stamp[0, 50, 30] = 1.0  # blue, high up
    stamp[1, 0, 0] = np.nan
    image = lupton_rgb(stamp)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert image[63 - 10, 20].argmax() == 0
    assert image[63 - 50, 30].argmax() == 2
    assert png_data_uri(image).startswith("data:image/png;base64,iVBOR")


def test_rates_are_written_with_the_digits_they_deserve():
    thin = "\N{NARROW NO-BREAK SPACE}"
    assert percent(0.7412) == f"74.1{thin}%"
    assert percent(0.00954) == f"0.95{thin}%"
    assert percent(0.00021) == f"0.021{thin}%"
    assert percent(9.81e-5) == f"0.0098{thin}%"
    assert percent_interval((8.1e-5, 1.2e-4), 9.81e-5) == f"0.0081{EN_DASH}0.0120{thin}%"
    assert percent(None) == EN_DASH
    assert [significant(value) for value in (0, 0.0312, 5.24, 1290)] == ["0", "0.031", "5.2", "1300"]
    assert significant_range([9.96, 120.4]) == f"10{EN_DASH}120"
    assert odds(1e-4) == f"1 in 10{thin}000"
    assert (p_value(3e-5), p_value(0.0312)) == ("< 0.0001", "0.031")
    assert signed_interval([-0.0214, 0.3]) == "\N{MINUS SIGN}0.021 to +0.300"
    assert percent_interval([0.0039, 0.0249], 0.0125) == f"0.39{EN_DASH}2.49{thin}%"
    assert grouped("needs 10000 controls, has 128") == f"needs 10{thin}000 controls, has 128"
