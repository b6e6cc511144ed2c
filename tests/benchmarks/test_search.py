import itertools

import numpy as np
import pytest
from benchmarks.sweepers.network import auroc, train
from benchmarks.sweepers.timing import course, summarise
from sklearn.metrics import roc_auc_score

from dark_halo_scope.configuration import REPOSITORY


def pins(path):
    lines = [line for line in path.read_text().lower().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_what_both_environments_have_is_at_the_same_version():
    ours, peer = pins(REPOSITORY / "constraints.txt"), pins(REPOSITORY / "benchmarks" / "sweepers" / "peer.txt")
    differing = {name for name in ours.keys() & peer.keys() if ours[name] != peer[name]}
    assert differing == {"hydra-core", "omegaconf"}


def test_the_network_learns_the_same_each_time():
    first, second = (list(itertools.islice(train(0.02, 0.3, 0.1, 64), 4)) for _ in range(2))
    assert first == second
    assert first[-1] > 0.8


def test_the_area_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal(200).astype(np.float32), (rng.random(200) < 0.3).astype(np.float32)
    assert auroc(logits, labels) == pytest.approx(roc_auc_score(labels, logits))


def test_a_search_is_timed_up_to_the_target_and_pruned_jobs_reach_nothing():
    jobs = [
        {"value": 0.7, "epochs": 10, "began": 101.0, "ended": 110.0},
        {"value": None, "epochs": 2, "began": 111.0, "ended": 113.0},
        {"value": 0.9, "epochs": 10, "began": 114.0, "ended": 124.0},
        {"value": 0.8, "epochs": 10, "began": 125.0, "ended": 135.0},
    ]
    found = course(jobs, began=100.0, target=0.85)
    assert found == {
        "target": 0.85,
        "best": 0.9,
        "pruned": 1,
        "total_s": 35.0,
        "total_epochs": 32,
        "target_s": 24.0,
        "target_epochs": 22,
    }
    lines = [{"name": "halo", "seed": seed, **found, "total_s": total} for seed, total in enumerate((1.0, 9.0, 5.0))]
    (median,) = summarise(lines)
    assert (median["name"], median["total_s"], median["best"]) == ("halo", 5.0, 0.9)
