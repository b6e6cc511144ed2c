"""The cost of leaving a kind out, on score files whose cost is known."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score

from dark_halo_scope.evaluation.scores import score_table, write_scores
from dark_halo_scope.generalisation.arms import Arm
from dark_halo_scope.generalisation.degradation import (
    DegradationError,
    Pair,
    RunScores,
    degradation,
)
from dark_halo_scope.generalisation.verdict import total_interval
from dark_halo_scope.generalisation.wording import finding

N = 8000  # half of them controls, half of each split
IS_LENS = np.arange(N) % 2 == 1
IS_TEST = np.arange(N) >= N // 2
IS_SIS = IS_LENS & (np.arange(N) % 4 == 1)
SEEING = np.random.default_rng(7).uniform(0.9, 1.7, N).astype(np.float32)

SIS = Arm("sie_to_sis", "SIS (shown SIE)", "lens_model == 'SIS'")
BLURRED = Arm("seeing_worst", "worst seeing", "psf_fwhm_used_r >= 1.2", of_controls=True)


def run_scores(folder, name, seed, loss=0.0, rows=None) -> RunScores:
    """A run that ranks SIS lenses lower by ``loss``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(np.where(IS_LENS, 2.5, 0.0), 1.0) - loss * IS_SIS
    metadata = pa.table(
        {
            "lens_model": np.where(IS_LENS, np.where(IS_SIS, "SIS", "SIE"), "CONTROL"),
            "psf_fwhm_used_r": SEEING,
            "region_id": np.arange(N) // 100,
        }
    )
    split = np.where(IS_TEST, "test", "val").tolist()
    table = score_table(np.arange(N), split, IS_LENS.astype(int), logits, None, metadata)
    path = folder / f"{name}-{seed}.parquet"
    write_scores(path, table if rows is None else table.take(rows), {})
    return RunScores.read(name, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scores")


@pytest.fixture(scope="module")
def worse(folder):
    """Pairs of three seeds; the arm cannot tell SIS as well."""
    return [Pair(s, run_scores(folder, "reference", s), run_scores(folder, "arm", 10 + s, loss=1)) for s in (1, 2, 3)]


def logits_of(run: RunScores) -> np.ndarray:
    return run.file.table["logit"].to_numpy()


def test_values_are_those_of_the_kind_left_out_against_all_controls(worse):
    record = degradation(SIS, worse, "region_id", n_resamples=200)
    assert record["probe"] == {"n_lenses": 1000, "n_controls": 2000, "n_regions": 40}
    chosen = (IS_SIS | ~IS_LENS)[IS_TEST]
    is_lens = IS_LENS[IS_TEST][chosen]
    for side, runs in (("reference", [p.reference for p in worse]), ("left_out", [p.arm for p in worse])):
        found = {name: measure[side] for name, measure in record["measures"].items()}
        for k, run in enumerate(runs):
            logits = logits_of(run)[chosen]
            assert found["auroc"]["seeds"][k] == pytest.approx(roc_auc_score(is_lens, logits), abs=1e-12)
            first_too_many = np.sort(logits[~is_lens])[-21]  # 20 of 2000 controls are 1 %
            assert found["tpr_at_fpr_1e-2"]["seeds"][k] == (logits[is_lens] > first_too_many).mean()
            assert found["deployed_tpr"]["seeds"][k] == (logits[is_lens] >= np.float32(run.threshold)).mean()
            assert found["deployed_fpr"]["seeds"][k] == (logits[~is_lens] >= np.float32(run.threshold)).mean()
        assert found["auroc"]["mean"] == pytest.approx(np.mean(found["auroc"]["seeds"]))


def test_a_loss_is_found_with_its_interval_and_its_scatter(worse):
    measure = degradation(SIS, worse, "region_id", n_resamples=200)["measures"]["tpr_at_fpr_1e-2"]
    difference = measure["difference"]
    pairs = np.subtract(measure["left_out"]["seeds"], measure["reference"]["seeds"])
    assert difference["mean"] == pytest.approx(pairs.mean())
    assert difference["std_over_seeds"] == pytest.approx(pairs.std(ddof=1))
    assert difference["interval"][0] < difference["mean"] < difference["interval"][1] < 0
    assert measure["verdict"] == "lower"


def test_runs_that_differ_in_nothing_differ_by_exactly_nothing(folder):
    same = [Pair(s, run_scores(folder, "reference", s), run_scores(folder, "same", s)) for s in (1, 2)]
    for measure in degradation(SIS, same, "region_id", n_resamples=50)["measures"].values():
        nothing = {"mean": 0.0, "interval": [0.0, 0.0], "std_over_seeds": 0.0, "total_interval": [0.0, 0.0]}
        assert measure["difference"] == nothing
        assert measure["verdict"] == "not told apart"


def test_a_loss_within_the_luck_of_training_is_not_told_apart(folder):
    reference = run_scores(folder, "reference", 1)
    arms = [run_scores(folder, "much_worse", 21, loss=2), run_scores(folder, "better", 22, loss=-0.5)]
    record = degradation(SIS, [Pair(k, reference, arm) for k, arm in enumerate(arms)], "region_id", n_resamples=100)
    measure = record["measures"]["auroc"]
    assert measure["difference"]["interval"][1] < 0
    assert measure["verdict"] == "not told apart"


def test_the_total_interval_is_that_of_t_where_training_is_all_and_of_the_stamps_where_they_are():
    differences = np.array([-0.3, -0.1, -0.2])
    mean, std = differences.mean(), differences.std(ddof=1)
    expected = ttest_1samp(differences, 0).confidence_interval(0.95)
    np.testing.assert_allclose(total_interval(mean, [mean, mean], std, 3), [expected.low, expected.high])
    np.testing.assert_allclose(total_interval(mean, [mean - 0.1, mean + 0.1], 0.0, 3), [mean - 0.1, mean + 0.1])


def test_the_total_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        by_stamps = rng.normal(0, 1.0)
        by_seed = by_stamps + rng.normal(0, 1.5, 3)
        mean, std = by_seed.mean(), by_seed.std(ddof=1)
        low, high = total_interval(mean, [mean - 1.96, mean + 1.96], std, 3)
        covered.append(low < 0 < high)
    assert 0.93 < np.mean(covered) < 0.985


def test_where_controls_are_left_out_only_those_are_tested_on(worse):
    record = degradation(BLURRED, worse, "region_id", n_resamples=50)
    chosen = IS_TEST & (np.float32(1.2) <= SEEING)
    assert record["probe"]["n_lenses"] == (chosen & IS_LENS).sum()
    assert record["probe"]["n_controls"] == (chosen & ~IS_LENS).sum()


def test_what_the_test_split_cannot_say_is_refused_with_the_number_needed(worse):
    few = replace(BLURRED, leave_out="psf_fwhm_used_r >= 1.6")
    record = degradation(few, worse, "region_id", n_resamples=50)
    n_controls = record["probe"]["n_controls"]
    assert record["unsupported"] == {
        "tpr_at_fpr_1e-2": f"{n_controls} controls of the kind in the test split; 1000 are needed for 10 expected "
        "false positives"
    }
    none = degradation(replace(SIS, leave_out="lens_model == 'SIX'"), worse, "region_id")
    assert not none["measures"]
    kind, sentence = finding({"degradation": none}, 0.01)
    assert kind == "unknown"
    assert "0 lenses and 2000 controls of the kind in the test split; 10 are needed" in sentence


def test_too_few_regions_give_values_without_intervals(worse):
    record = degradation(replace(BLURRED, leave_out="region_id < 45"), worse, "region_id", n_resamples=50)
    assert record["no_intervals"] == "5 regions; an interval needs 10"
    assert record["measures"]["auroc"]["difference"]["interval"] is None
    assert record["measures"]["auroc"]["verdict"] is None


def test_the_sentence_says_loss_interval_and_seeds(worse):
    kind, sentence = finding({"degradation": degradation(SIS, worse, "region_id", n_resamples=200)}, 0.01)
    assert kind == "fails"
    assert "at a false-positive rate of 1\N{NARROW NO-BREAK SPACE}%, the reference" in sentence
    assert sentence.endswith("lower.")


def test_one_seed_gives_no_verdict(worse):
    record = degradation(SIS, worse[:1], "region_id", n_resamples=50)
    assert record["measures"]["auroc"]["difference"]["interval"][1] < 0
    kind, sentence = finding({"degradation": record}, 0.01)
    assert kind == "unknown"
    assert sentence.endswith("No verdict: one seed cannot tell a loss from the luck of training.")


def test_runs_tested_on_other_stamps_are_refused(folder, worse):
    fewer = run_scores(folder, "fewer", 1, rows=np.arange(N - 1))
    with pytest.raises(DegradationError, match="were not tested on the same stamps"):
        degradation(SIS, [Pair(1, worse[0].reference, fewer)], "region_id")
