"""B. Model: do stem, initialisation, head and loss suit stamps of 64 px?"""

import math
from collections.abc import Iterator

import numpy as np

from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS
from dark_halo_scope.review import scoring
from dark_halo_scope.review.answers import Check
from dark_halo_scope.review.case import Case
from dark_halo_scope.stamps.contract import PIXEL_SCALE_ARCSEC, STAMP_SIZE

_TIED = 0.001  # of the pairs of a lens and a control


def stem(case: Case) -> Iterator[Check]:
    """How many pixels the first convolution keeps."""
    first, last = scoring.feature_sizes(case.task.network, STAMP_SIZE)
    whole = first == STAMP_SIZE
    cell = STAMP_SIZE / last * PIXEL_SCALE_ARCSEC
    yield Check(
        "Resolution",
        PASS if whole else CONCERN,
        f"the first convolution keeps {first} of {STAMP_SIZE} px, the last one sees {last} x {last} cells of "
        f"{cell:.1f} arcsec",
        value=first,
        source="config.yaml",
        remedy="arcs at 0.6 arcsec from their host end within a pixel of it: keep the resolution",
        command=case.again("model=resnet18"),
    )
    yield Check.missing(
        "Against the other stem",
        "whether another stem does better on these data is not known from one run",
        f"{case.again('model=resnet18_imagenet_stem' if whole else 'model=resnet18', 'run_name=other_stem')}; "
        f"halo evaluate {case.run}/scores.parquet {case.run.parent}/other_stem/scores.parquet",
    )


def initialisation(case: Case) -> Iterator[Check]:
    """Random or pretrained."""
    weights = case.config["model"].get("weights")
    yield Check(
        "Initialisation",
        CONCERN if weights else PASS,
        f"the network began with the weights of {weights}, learnt on other images"
        if weights
        else "the network began at random, as in the reference setting",
        source="config.yaml",
        remedy="show that they pay: repeat the run without them",
        command=case.again("model.weights=null", "run_name=random_init"),
    )
    if not weights:
        yield Check.missing(
            "Against pretrained weights",
            "whether weights learnt on photographs would do better is not known from one run",
            case.again("model=resnet18_imagenet_stem", "model.weights=FILE", "run_name=pretrained"),
        )


def head_and_loss(case: Case) -> Iterator[Check]:
    """One finite float32 logit, without ties, from a loss that learnt something."""
    test = case.split_scores("test")
    logit, is_lens = test["logit"].to_numpy(), test["label"].to_numpy() == 1
    finite = bool(np.isfinite(logit).all())
    yield Check(
        "One logit a stamp",
        PASS if finite and logit.dtype == np.float32 else FAIL,
        f"{len(logit)} test stamps have one {logit.dtype} logit each, from {logit.min():.1f} to {logit.max():.1f}",
        source="scores.parquet",
        remedy="score again in float32: halo score ... --precision 32-true",
    )
    tied = _tied_pairs(logit[is_lens], logit[~is_lens])
    many = tied > _TIED
    yield Check(
        "Ties",
        CONCERN if many else PASS,
        f"{len(np.unique(logit))} different logits; {tied:.2%} of the pairs of a lens and a control share one",
        value=tied,
        source="scores.parquet",
        remedy="a threshold cannot part what is tied: score in float32",
        command=f"halo score {case.run}/checkpoints/best.ckpt {case.data_root} --precision 32-true",
    )
    nll = case.metrics["test"]["nll"]
    learnt = nll < math.log(2)
    yield Check(
        "Loss",
        PASS if learnt else CONCERN,
        f"cross-entropy of {nll:.3f} on the test stamps, before calibration; saying one half to all of them "
        f"gives {math.log(2):.3f}",
        value=nll,
        source="metrics.json",
        remedy="the probabilities say less than none: train longer, at a lower rate",
        command=case.again(f"trainer.max_epochs={2 * case.config['trainer']['max_epochs']}"),
    )
    task, method = case.config["task"], case.metrics["calibration"]["calibrator"]["method"]
    if task.get("class_weighting", "none") != "none" and method == "temperature":
        yield Check(
            "Weights of the classes",
            CONCERN,
            f"class_weighting={task['class_weighting']} shifts every logit, which a temperature cannot undo",
            source="config.yaml",
            remedy="calibrate with isotonic regression",
            command=case.again("callbacks.calibration.method=isotonic"),
        )


def _tied_pairs(lenses: np.ndarray, controls: np.ndarray) -> float:
    """Fraction of all pairs of a lens and a control with the same logit."""
    values, n_lenses = np.unique(lenses, return_counts=True)
    known, n_controls = np.unique(controls, return_counts=True)
    _, mine, theirs = np.intersect1d(values, known, return_indices=True)
    pairs = (n_lenses[mine].astype(float) * n_controls[theirs]).sum()
    return float(pairs / (len(lenses) * len(controls)))
