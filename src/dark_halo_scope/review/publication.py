"""H. Publication: what is still to be made, the largest risks, and practice of the field."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS, UNMEASURED
from dark_halo_scope.review.answers import Answer, Check
from dark_halo_scope.review.case import Case
from dark_halo_scope.review.pixels import SKY_RADIUS_PX
from dark_halo_scope.stamps.contract import BANDS, PIXEL_SCALE_ARCSEC, STAMP_SIZE
from dark_halo_scope.transforms.normalise import MAD_TO_SIGMA, annulus_pixels, median_and_mad

_MOST_RISKS = 6
_DEPTHS = (21.5, 26.0)  # 5 sigma, AB: any part of DECaLS DR10 lies between, counts or fluxes per arcsec^2 do not
_SIGMA_TO_FWHM = 2.3548


def still_to_do(case: Case) -> Iterator[Check]:
    """What a paper shows besides the report."""
    best = f"{case.run}/checkpoints/best.ckpt"
    products = (
        ("Selection function", ("selection_function.parquet",), f"halo evaluate {case.run}/scores.parquet"),
        (
            "Gallery graded by eye",
            ("gallery.html",),
            f"halo gallery {case.run}/scores.parquet {case.data_root} --out {case.run}/gallery.html",
        ),
        ("Model card and ONNX", ("exported/model.onnx", "model.onnx"), f"halo export {best} {case.run}/exported"),
        (
            "Comparison of seeds or models",
            ("comparison.json", "evaluation/comparison.json"),
            "halo evaluate A B C --repeats",
        ),
    )
    for name, files, command in products:
        found: Path | None = case.find(*files)
        yield (
            Check(name, PASS, "is there", source=case.name_of(found))
            if found
            else Check.missing(name, "is not there yet", command)
        )


def risks(case: Case) -> Iterator[Check]:
    """The gravest findings above, critical questions first."""
    grave = [answer for answer in case.answered if answer.verdict in (FAIL, CONCERN)]
    for answer in sorted(grave, key=_gravity)[:_MOST_RISKS]:
        worst = answer.with_verdict(answer.verdict)
        yield Check(
            f"Question {answer.number}: {worst[0].name}",
            CONCERN,  # it has been counted where it was found
            worst[0].finding + (f" (and {len(worst) - 1} more there)" if len(worst) > 1 else ""),
            source=worst[0].source,
            remedy=worst[0].remedy,
        )
    unknown = [str(answer.number) for answer in case.answered if answer.critical and answer.verdict == UNMEASURED]
    if unknown:
        yield Check(
            "Critical questions without a measurement",
            CONCERN,
            f"questions {', '.join(unknown)}",
            remedy="measure them",
        )
    if not grave and not unknown:
        yield Check("None found", PASS, "no question above fails or gives concern")


def practice(case: Case) -> Iterator[Check]:
    """Units, seeing, regions, and what the sky's prevalence makes of the working point."""
    yield _depth(case)
    method = case.metrics["intervals"]["method"]
    by_region = method == "region bootstrap" and not case.metrics["intervals"]["refused"]
    yield Check(
        "Intervals",
        PASS if by_region else CONCERN,
        f"{method} over {case.metrics['samples']['test']['n_regions']} test regions"
        + (
            ""
            if by_region
            else f": {case.metrics['intervals']['refused'] or 'stamps of one region are not independent'}"
        ),
        source="metrics.json",
        remedy="more test regions, and a column that names them",
    )
    point = next(p for p in case.metrics["operating_points"] if p["name"] == case.metrics["working_point"])
    ahead = (point.get("sky") or [None])[0]
    if ahead is None:
        yield Check.missing(
            "On the sky", "purity at the sky's prevalence was not computed", f"halo evaluate {case.run}/scores.parquet"
        )
        return
    purity, density = ahead["purity"]["value"], ahead["candidates_per_deg2"]["value"]
    told = (
        "nothing passes" if purity is None else f"{density:.3g} candidates a square degree at a purity of {purity:.2%}"
    )
    yield Check(
        "On the sky",
        PASS,
        f"at the working point and a prevalence of {ahead['prevalence']:.2g}, which is assumed and not "
        f"measured: {told}",
        value=purity,
        source="metrics.json",
    )


def _depth(case: Case) -> Check:
    """Depth of a point source by the noise of the sky annulus: wrong units move it by magnitudes."""
    pixels = torch.from_numpy(case.sample.images).flatten(2)[..., annulus_pixels(SKY_RADIUS_PX, STAMP_SIZE)]
    noise = (MAD_TO_SIGMA * median_and_mad(pixels)[1]).median(dim=0).values.numpy()  # nanomaggies a pixel, (3,)
    seeing = case.index.metadata(case.sample.rows, ["psf_fwhm_used_r"])["psf_fwhm_used_r"].to_numpy()
    sigma_px = float(np.nanmedian(seeing)) / _SIGMA_TO_FWHM / PIXEL_SCALE_ARCSEC
    depth = 22.5 - 2.5 * np.log10(5 * noise * np.sqrt(4 * np.pi) * sigma_px)
    plausible = bool(((depth > _DEPTHS[0]) & (depth < _DEPTHS[1])).all())
    return Check(
        "Units",
        PASS if plausible else CONCERN,
        f"median 5 sigma depth from the noise of {len(case.sample.rows)} skies, for a point source in seeing of "
        f"{float(np.nanmedian(seeing)):.2f} arcsec: "
        + ", ".join(f"{b} {m:.1f}" for b, m in zip(BANDS, depth, strict=True)),
        value=float(depth[1]),
        remedy="are the pixels nanomaggies? See how the cutouts were made",
    )


def _gravity(answer: Answer) -> tuple[bool, bool, int]:
    return (answer.verdict != FAIL, not answer.critical, answer.number)
