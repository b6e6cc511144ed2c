"""A. Data: are stamps decoded, normalised, augmented and labelled as they should be?"""

from collections.abc import Iterator

import numpy as np

from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS
from dark_halo_scope.review import figures, pixels, scoring
from dark_halo_scope.review.answers import Check, Figure
from dark_halo_scope.review.case import Case
from dark_halo_scope.stamps.contract import BANDS
from dark_halo_scope.stamps.store.manifest import StoreManifest

_AT_BOUND = (0.01, 0.25)  # of the core pixels: concern above the first, fail above the second
_COLOUR_KEPT = 0.9  # rank correlation of the colour before and after, below which it is a concern
_SKY_MOVED = (0.1, 0.5)  # in units of the sky's scatter
_SPREAD = 0.5  # of the logits over the orientations, in units of their scatter over the stamps
_UNDETECTABLE = 0.1  # of the lenses
_FAINT_SNR = 2.0
_FEWEST_HOSTS = 20


def decoding(case: Case) -> Iterator[Check]:
    """Bits against ``np.load``, and speed against what training takes."""
    if case.index.store is not None:
        yield from _of_store(case, case.index.store)
        return
    found = pixels.compare_decoders(case.index, case.sample.rows)
    yield Check(
        "Same bits as np.load",
        PASS if found.n_equal == found.n else FAIL,
        f"{found.n_equal} of {found.n} stamps drawn at random decode to the same bits as with np.load",
        value=found.n_equal / found.n,
        remedy="do not use these numbers: report the stamps that differ",
    )
    ratio = found.stamps_per_s / found.load_stamps_per_s
    yield _speed(case, found.stamps_per_s, f" ({ratio:.1f} times np.load)")


def _of_store(case: Case, store: StoreManifest) -> Iterator[Check]:
    """What a training store says of its pixels, and how fast they are read."""
    error = store.float16_error
    yield Check(
        "Pixels of the store",
        PASS if error is None or error["max"] <= error["limit"] else CONCERN,
        "float32, as in the raw data"
        if error is None
        else f"float16, off by {error['mean']:.2g} of the sky noise on average and {error['max']:.2g} at worst "
        "(rms of a "
        f"stamp; {error['limit']:g} is allowed), as measured when the store was made",
        value=0.0 if error is None else error["max"],
        remedy="keep them in float32",
        command=f"halo prepare {store.raw_root} STORE precision=float32",
    )
    yield Check.missing(
        "Same stamps as the raw data",
        "the raw data were not read again",
        f"halo prepare {store.raw_root} {case.data_root} --verify",
    )
    yield _speed(case, pixels.reading_rate(case.index, case.sample.rows), "")


def _speed(case: Case, rate: float, beside: str) -> Check:
    """Decoding on the threads that are allowed, against what training took."""
    if "throughput/stamps_per_s" not in case.history:
        why = "the run did not measure how many stamps a second it took"
        return Check.missing("Decoding speed", why, case.again("callbacks=default"))
    threads = int(case.config["data"]["num_threads"])
    needed = max(value for *_, value in case.history["throughput/stamps_per_s"]["values"])
    return Check(
        "Decoding speed",
        PASS if threads * rate > needed else CONCERN,
        f"one thread on this machine decodes {rate:.0f} stamps/s{beside}; {threads} threads are allowed, and "
        "training took "
        f"{needed:.0f} stamps/s on its own machine",
        value=rate,
        source="history.json",
        remedy="read a training store, or allow more threads",
        command=f"halo prepare {case.data_root} STORE",
    )


def normalisation(case: Case) -> Iterator[Check]:
    """Cores of real hosts before and after: is anything cut off, and does their colour survive?"""
    found = pixels.core_saturation(case.sample, case.task.normalise)
    name = type(case.task.normalise).__name__
    yield Check(
        "Finite",
        PASS if found.finite else FAIL,
        f"{name} gives {'finite numbers' if found.finite else 'numbers that are not finite'} for "
        f"{len(case.sample.rows)} "
        "stamps",
    )
    concern, fail = _AT_BOUND
    verdict = FAIL if found.at_bound > fail else CONCERN if found.at_bound > concern else PASS
    command = case.again("transforms=annulus_asinh")
    by_band = ", ".join(f"{band} {share:.1%}" for band, share in zip(BANDS, found.by_band, strict=True))
    yield Check(
        "Saturated cores",
        verdict,
        f"{found.at_bound:.1%} of the pixels within {pixels.CORE_RADIUS_PX:g} px of the centre of "
        f"{len(case.sample.rows)} "
        f"stamps lie at the largest value that {name} gives ({by_band})",
        value=found.at_bound,
        remedy="hosts are flattened to plates: stretch instead of clipping",
        command=command,
        figure=Figure(
            figures.stretch(found),
            f"Pixels of the cores before and after {name}. A flat top is light that the network cannot see.",
        ),
    )
    if found.n_hosts < _FEWEST_HOSTS:
        yield Check.missing(
            "Colour of the cores",
            f"{found.n_hosts} stamps have light in g and z at their centre",
            remedy="look at the stamps: are hosts in the middle?",
        )
        return
    kept = found.colour_rank_correlation >= _COLOUR_KEPT
    yield Check(
        "Colour of the cores",
        PASS if kept else CONCERN,
        f"the order of {found.n_hosts} stamps by the g - z colour of their cores has a rank correlation of "
        f"{found.colour_rank_correlation:.2f} with their order after it (1: untouched)",
        value=found.colour_rank_correlation,
        remedy="arcs are told from hosts by colour: divide all bands by one scale",
        command=command,
    )


def augmentation(case: Case) -> Iterator[Check]:
    """The sky before and after; the network's answer over the eight orientations."""
    found = pixels.augmented_sky(case.sample, case.task.normalise, case.task.augment, case.config["seed"])
    moved = max(found.sky_shift, found.scatter_ratio)
    concern, fail = _SKY_MOVED
    verdict = FAIL if moved > fail else CONCERN if moved > concern else PASS
    yield Check(
        "Sky",
        verdict,
        f"{found.same_pixels:.0%} of {len(case.sample.rows)} stamps keep their very pixels in other places "
        f"({found.n_changed} were turned); the sky's median moves by {found.sky_shift:.2g} and its scatter by "
        f"{found.scatter_ratio:.2g} of the scatter at most. Labels are not given to the augmentation",
        value=moved,
        remedy="what changes the sky teaches the network the augmentation: turns only",
        command=case.again("transforms/augment=d4"),
    )
    stamps = case.few_stamps
    views = scoring.oriented_logits(case.task, stamps, case.precision)
    spread, scatter = float(np.median(views.std(axis=0))), float(views.mean(axis=0).std())
    steady = spread <= _SPREAD * scatter
    yield Check(
        "Answer over the orientations",
        PASS if steady else CONCERN,
        f"the logit of a stamp scatters by {spread:.2f} (median) over its eight orientations, "
        f"{spread / scatter:.2f} of "
        f"the scatter over {len(stamps.rows)} stamps ({scatter:.2f})",
        value=spread / scatter,
        remedy="the network has not learnt that orientation says nothing: train longer, and average",
        command=f"halo score {case.run}/checkpoints/best.ckpt {case.data_root} --tta d4",
    )


def labels(case: Case) -> Iterator[Check]:
    """What the contract says of every row, and lenses that nobody could see."""
    yield case.gate("Schema and labels")
    yield case.gate("Missing metadata by class")
    test = case.split_scores("test")
    if not {"arc_snr", "theta_e_arcsec", "psf_fwhm_used_r"} <= set(test.column_names):
        yield Check.missing(
            "Arcs too faint to see",
            "the score file has no arc_snr, theta_e_arcsec and psf_fwhm_used_r",
            remedy="keep these columns in the data",
        )
        return
    is_lens = test["label"].to_numpy() == 1
    snr, theta, psf = (
        np.asarray(test[name].to_numpy(), float)[is_lens] for name in ("arc_snr", "theta_e_arcsec", "psf_fwhm_used_r")
    )
    faint, small = snr < _FAINT_SNR, theta < psf / 2
    share = float((faint | small).mean())
    many = share > _UNDETECTABLE
    yield Check(
        "Arcs too faint to see",
        CONCERN if many else PASS,
        f"{share:.1%} of {is_lens.sum()} test lenses have an arc below S/N {_FAINT_SNR:g} ({faint.mean():.1%}) "
        "or an Einstein "
        f"radius below half the seeing ({small.mean():.1%}): labels that an image cannot bear out",
        value=share,
        source="scores.parquet",
        remedy="leave them out of the training, and report completeness by stratum",
        command=case.again(f"data.leave_out=theta_e_arcsec > 0 and arc_snr < {_FAINT_SNR:g}"),
    )
