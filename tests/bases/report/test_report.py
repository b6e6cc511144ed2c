"""A sweep with a known truth and known gaps, from its folder to its page."""

import csv
import html
import json
import re
import shutil
from dataclasses import asdict

import pytest
from scipy.stats import permutation_test

from dark_halo_scope.bases.ledger import JOBS, Record
from dark_halo_scope.bases.plan import PLAN
from dark_halo_scope.bases.report.arms import ALONE, BASE, FULL, HEAD, TUNED
from dark_halo_scope.bases.report.page import report
from dark_halo_scope.bases.report.sweep import SweepError
from tests.bases.report.sweeps import STARTED, Design, cell_of, draw, key, write_sweep, write_tuning

DESIGN = Design()
VALUES = draw(DESIGN)
LOST = [(FULL, 8, 8, "P07", seed) for seed in DESIGN.seeds]  # all repeats
THIN = (TUNED, 2, 32, "P03", 1)  # one of two


def mean(mode: str, n_base: int, budget: int, group: str) -> float:
    values = [VALUES[cell_of(mode, n_base, budget, group, seed)] for seed in DESIGN.seeds]
    return sum(values) / len(values)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Of a sweep that lacks a group's jobs at one point, a repeat at another, a command line, and all of one arm."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep = write_sweep(folder, DESIGN, VALUES, [*LOST, THIN])
    with (sweep / JOBS).open("a") as jobs:
        jobs.write(json.dumps(asdict(Record(None, None, ("finetune=full",), {}, "failed"))) + "\n")
    labels = dict.fromkeys(("n_base", "replicate", "fold", "budget", "seed")) | {"mode": HEAD, "target": "P09"}
    planned = {"key": "0" * 64, "base": None, "labels": labels, "overrides": ["target=P09"]}
    (sweep / PLAN).write_text(json.dumps({"jobs": [planned], "counts": {"not_come_to": 12}}))
    page = report(sweep, folder / "store")
    return page, json.loads((sweep / "report.json").read_text()), list(csv.DictReader((sweep / "table.csv").open()))


def words(page) -> str:
    """What a reader sees."""
    text = re.sub(r"<(style|svg)\b.*?</\1>|<[^>]+>", " ", page.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text))


def comparison(summary, arm, other, n_base, budget) -> dict:
    (record,) = [
        record
        for record in summary["comparisons"]["records"]
        if (record["arm"], record["other"], record["n_base"], record["budget"]) == (arm, other, n_base, budget)
    ]
    return record


def test_what_is_missing_is_said_before_anything_else(written):
    page, summary, _ = written
    assert summary["jobs"]["states"] == {"done": 381, "failed": 4, "not run": 1}
    assert summary["design"]["gaps"] == {"P07": [{"mode": FULL, "n_base": 8, "budget": 8}]}
    assert summary["design"]["without_result"] == {"groups": ["P09"], "modes": [HEAD]}
    assert [(it["group"], it["n"], it["of"]) for it in summary["thin"]] == [("P03", 1, 2)]
    text = words(page)
    said = [
        "interrupted before it came to 12 command lines",
        "5 of 386 jobs have no result: 4 failed, 1 not run.",
        "1 group of 8 lacks an arm somewhere and is left out of the curves: P07 (full fine-tuning at 8 base groups, "
        "budget 8).",
        "P03, target-only fine-tuning (1 of 2).",
    ]
    first_number = text.index("has the highest mean")
    assert all(text.index(sentence) < first_number for sentence in said)
    assert all(job["name"] in text for job in summary["jobs"]["missing"])


def test_curves_are_means_over_the_groups_that_have_everything(written):
    _, summary, _ = written
    complete = [group for group in DESIGN.groups if group != "P07"]
    assert summary["design"]["complete_groups"] == complete
    curves = {(curve["mode"], curve["n_base"], curve["budget"]): curve for curve in summary["curves"]}
    assert len(curves) == 6 + 6 + 3 + 2
    for (mode, n_base, budget), curve in curves.items():
        if (mode, n_base, budget) != THIN[:3]:
            values = [mean(mode, n_base or 0, budget or 0, group) for group in complete]
            assert curve["mean"] == pytest.approx(sum(values) / 7)
            assert curve["interval"][0] < curve["mean"] < curve["interval"][1]


def test_arms_are_compared_within_the_groups_that_both_have(written):
    _, summary, _ = written
    for n_base, budget, lacking in ((8, 8, ["P07"]), (2, 128, [])):
        record = comparison(summary, FULL, ALONE, n_base, budget)
        common = [group for group in DESIGN.groups if group not in lacking]
        differences = [mean(FULL, n_base, budget, group) - mean(ALONE, 0, budget, group) for group in common]
        reference = permutation_test((differences,), lambda d: sum(d), permutation_type="samples", vectorized=False)
        assert (record["n_groups"], record["left_out"]) == (len(common), lacking)
        assert record["difference"] == pytest.approx(sum(differences) / len(common))
        assert record["p"] == pytest.approx(reference.pvalue)
        assert record["p"] <= record["p_holm"] <= 1


def test_eight_groups_cannot_support_thirty_six_tests_and_the_page_refuses_to_claim(written):
    page, summary, _ = written
    family = summary["comparisons"]
    assert (family["n_tests"], family["groups_needed"], family["can_claim"]) == (36, 11, False)
    assert {record["verdict"] for record in family["records"]} == {"not told apart"}
    assert "8 groups cannot reach p < 0.05 after the correction for 36 tests" in words(page)
    assert "is shown to be ahead" not in words(page)


def test_the_harmed_are_counted_and_named(written):
    page, summary, _ = written
    (record,) = [
        record
        for record in summary["harm"]
        if (record["arm"], record["reference"], record["n_base"], record["budget"]) == (TUNED, BASE, 8, 8)
    ]
    losses = {group: mean(TUNED, 8, 8, group) - mean(BASE, 8, 8, group) for group in DESIGN.groups}
    harmed = sorted((group for group in losses if losses[group] < 0), key=losses.get)
    assert record["n_harmed"] == len(harmed) > 0
    assert [it["group"] for it in record["most_harmed"]] == harmed[:3]
    assert f"{record['n_harmed']} of 8" in words(page)


def test_sharing_saved_what_every_fine_tuning_would_have_trained_for_itself(written):
    _, summary, _ = written
    saved = summary["savings"]
    assert (saved["n_tunings"], saved["n_from_base"], saved["n_bases"]) == (257, 208, 8)
    assert saved["hours_spent"] == 8
    assert saved["hours_saved"] == saved["n_saved"] == 200
    assert summary["design"]["targets_per_base"] == 2  # four folds of eight groups


def test_every_job_has_a_row_and_every_result_the_hash_of_its_scores(written):
    _, summary, table = written
    assert len(table) == summary["jobs"]["n"] == 386
    for row in table:
        assert bool(row["macro_f1"]) == bool(row["scores_sha256"]) == (row["state"] == "done")
    (row,) = [
        r
        for r in table
        if r["mode"] == FULL and (r["n_base"], r["budget"], r["target"], r["seed"]) == ("2", "8", "P01", "2")
    ]
    assert float(row["macro_f1"]) == VALUES[FULL, 2, 8, "P01", 2]
    assert row["n_labels"] == "8"


def test_the_same_sweep_gives_the_same_report(written, tmp_path):
    page, summary, _ = written
    report(page.parent, page.parents[1] / "store", tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == summary
    assert (tmp_path / "report.html").read_text() == page.read_text()


def test_enough_groups_claim_the_planted_truth(tmp_path):
    design = Design(12, (8,), (8, 512), (FULL, ALONE), (1,))
    page = report(write_sweep(tmp_path, design, draw(design)), tmp_path / "store")
    summary = json.loads((page.parent / "report.json").read_text())
    assert [comparison(summary, FULL, ALONE, 8, budget)["verdict"] for budget in design.budgets] == ["ahead", "behind"]
    assert comparison(summary, BASE, ALONE, 8, 512)["verdict"] == "behind"  # by fine-tunings alone: it has no job
    assert "Nothing is missing: all 48 jobs have a result" in (text := words(page))
    assert "full fine-tuning is shown to be ahead of target alone at 1, behind it at 1, and neither at 0" in text
    assert "With 8 base groups, training on the target alone overtakes base alone" in text
    assert re.search(r"overtakes base alone [^;]+; full fine-tuning at \d+ labels", text)


def test_five_groups_get_no_interval_no_test_and_no_claim(tmp_path):
    design = Design(5, (2, 8), (8, 32), seeds=(1,))
    page = report(write_sweep(tmp_path, design, draw(design)), tmp_path / "store")
    summary = json.loads((page.parent / "report.json").read_text())
    assert summary["comparisons"]["n_tests"] == 0
    assert all(curve["interval"] is None for curve in summary["curves"])
    assert "with 5 groups, a two-sided sign-flip test cannot reach p < 0.05 whatever the results" in words(page)


@pytest.fixture
def tiny(tmp_path):
    """Sweep and store of two groups, to be spoilt."""
    design = Design(2, (2,), (8, 32), (FULL, ALONE), (1,))
    return write_sweep(tmp_path, design, draw(design)), tmp_path / "store"


def stored(store, group="P01"):
    return store / "tunings" / key(FULL, 2, 8, group, 1)


def rewrite(sweep, change) -> None:
    lines = [json.loads(line) for line in (sweep / JOBS).read_text().splitlines()]
    for line in lines:
        change(line)
    (sweep / JOBS).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_fine_tuning_that_is_not_in_the_store_any_more_is_missing(tiny):
    sweep, store = tiny
    shutil.rmtree(stored(store))
    report(sweep, store)
    summary = json.loads((sweep / "report.json").read_text())
    assert [(job["state"], "P01" in job["name"]) for job in summary["jobs"]["missing"]] == [("not in the store", True)]


def test_a_metric_that_is_no_number_is_missing(tiny):
    sweep, store = tiny
    shutil.rmtree(stored(store))
    write_tuning(stored(store), FULL, 8, None, 0.4)
    page = report(sweep, store)
    assert "1 fine-tuning ended with a macro F1 that is no number" in words(page)
    assert json.loads((sweep / "report.json").read_text())["design"]["complete_groups"] == ["P02"]


def test_arms_that_were_tested_on_other_rows_are_told(tiny):
    sweep, store = tiny
    shutil.rmtree(stored(store))
    write_tuning(stored(store), FULL, 8, 0.5, 0.4, first_row=2)
    assert "Not all fine-tunings of P01 were tested on the same rows" in words(report(sweep, store))


def test_all_labels_are_a_budget_of_their_own(tiny):
    sweep, store = tiny
    rewrite(sweep, lambda line: line["labels"].update(budget={8: 8, 32: None}[line["labels"]["budget"]]))
    report(sweep, store)
    budgets = json.loads((sweep / "report.json").read_text())["design"]["budgets"]
    assert budgets == [{"name": 8, "n_labels": 8}, {"name": "all", "n_labels": 32}]


def test_another_metric_can_be_asked_for(tiny):
    sweep, store = tiny
    assert "accuracy against labels" in words(report(sweep, store, metric="accuracy")).lower()
    with pytest.raises(SweepError, match=r"not all .* have the metric auroc; all of them have: accuracy, macro_f1"):
        report(sweep, store, metric="auroc")
    with pytest.raises(SweepError, match="of test_loss, less is better"):
        report(sweep, store, metric="test_loss")


def test_settings_that_no_label_tells_apart_are_not_averaged(tiny):
    sweep, store = tiny

    def make_a_repeat(line):
        if line["labels"]["mode"] == FULL:
            line["labels"]["budget"] = 8

    rewrite(sweep, make_a_repeat)
    with pytest.raises(
        SweepError, match=r"both mode full_fine_tuning, .* but differ in budget=32, budget=8: .* seed cannot"
    ):
        report(sweep, store)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda sweep, store: (sweep / JOBS).unlink(), "there is no .*jobs.jsonl: give the folder of a sweep"),
        (lambda sweep, store: (sweep / JOBS).write_text("{}\n"), "line 1 of .* is not that of a job"),
        (lambda sweep, store: (sweep / JOBS).write_text('{"key": "a'), "line 1 of .* is not that of a job"),
        (
            lambda sweep, store: rewrite(sweep, lambda line: line["labels"].update(mode="none")),
            "no mode none; known: full",
        ),
        (lambda sweep, store: shutil.rmtree(store / "tunings"), "none of the 8 jobs .* has a stored fine-tuning"),
        (lambda sweep, store: (stored(store) / "manifest.json").write_text(STARTED), "is no fine-tuning .*: remove it"),
    ],
)
def test_what_cannot_be_reported_is_refused_with_a_remedy(tiny, spoil, told):
    spoil(*tiny)
    with pytest.raises(SweepError, match=told):
        report(*tiny)
