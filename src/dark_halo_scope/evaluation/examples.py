"""Which stamps of the test split a reader should see, and what to say under each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dark_halo_scope.evaluation.completeness import column_values
from dark_halo_scope.evaluation.rgb import lupton_rgb, png_data_uri

ReadStamps = Callable[[NDArray[np.int64]], NDArray[np.float32]]
N_EXAMPLES = 12


def choose_examples(test: pa.Table, threshold: float, n: int = N_EXAMPLES) -> list[dict[str, Any]]:
    """Choose lenses found, controls called lenses, and lenses missed at a logit threshold.

    Found lenses are spread evenly over Einstein radius, so that the easy ones do not crowd out the rest.
    False positives are the most convincing ones. Missed lenses are those with the brightest arcs: the ones
    that should have been found. Where a column is unknown, the score decides instead.

    Returns:
        Groups with ``title``, ``remark``, ``n_total`` and ``stamps``, a table of at most `n` rows.
    """
    passed = test["logit"].to_numpy() >= np.float32(threshold)
    is_lens = test["label"].to_numpy() == 1
    by_theta_e, theta_e = _order(test.filter(pa.array(passed & is_lens)), "theta_e_arcsec", "logit")
    by_arc_snr, arc_snr = _order(test.filter(pa.array(~passed & is_lens)), "arc_snr", "logit")
    false_positives, _ = _order(test.filter(pa.array(passed & ~is_lens)), "logit", "logit")
    return [
        _group("Lenses found", f"spread evenly over {_said(theta_e)}", by_theta_e, _spread(by_theta_e.num_rows, n)),
        _group(
            "Controls called lenses",
            "the highest scores first",
            false_positives,
            np.arange(false_positives.num_rows)[::-1][:n],
        ),
        _group(
            "Lenses missed", f"the highest {_said(arc_snr)} first", by_arc_snr, np.arange(by_arc_snr.num_rows)[::-1][:n]
        ),
    ]


def render_examples(groups: list[dict[str, Any]], read_stamps: ReadStamps) -> list[dict[str, Any]]:
    """Read the pixels of all groups at once and add a colour image to each stamp."""
    rows = np.concatenate([group["stamps"]["row"].to_numpy() for group in groups])
    images = iter(read_stamps(rows) if rows.size else ())
    return [
        {
            "title": group["title"],
            "remark": group["remark"],
            "n_total": group["n_total"],
            "tiles": [
                {"image": png_data_uri(lupton_rgb(next(images))), "alt": group["title"]} | caption(stamp)
                for stamp in group["stamps"].to_pylist()
            ],
        }
        for group in groups
    ]


def caption(stamp: dict[str, Any]) -> dict[str, Any]:
    """Score, kind and known properties of one stamp in words."""
    facts = [str(stamp.get("lens_model") or ("lens" if stamp["label"] else "control"))]
    if stamp.get("control_kind"):
        facts = [str(stamp["control_kind"]).replace("_", " ")]
    formats = {
        "theta_e_arcsec": "θᴇ {:.2f}″",
        "arc_snr": "arc S/N {:.1f}",
        "psf_fwhm_used_r": "seeing {:.2f}″",
    }
    facts += [
        text.format(stamp[name])
        for name, text in formats.items()
        if stamp.get(name) is not None and np.isfinite(stamp[name]) and (stamp["label"] or name == "psf_fwhm_used_r")
    ]
    place = f"{stamp['ra']:.4f} {stamp['dec']:+.4f}" if {"ra", "dec"} <= stamp.keys() else f"row {stamp['row']}"
    return {"probability": stamp["probability"], "logit": stamp["logit"], "facts": facts, "place": place}


def _order(stamps: pa.Table, column: str, otherwise: str) -> tuple[pa.Table, str]:
    known = column in stamps.column_names and bool(np.isfinite(column_values(stamps, column)).any())
    key = column if known else otherwise
    values = pc.fill_null(stamps[key].cast(pa.float64()), -np.inf)
    return stamps.take(pc.sort_indices(values)), key


def _said(column: str) -> str:
    return {"theta_e_arcsec": "Einstein radius", "arc_snr": "arc signal-to-noise"}.get(column, "score")


def _spread(n_stamps: int, n: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, n_stamps - 1, min(n, n_stamps)).round().astype(np.int64))


def _group(title: str, remark: str, stamps: pa.Table, chosen: NDArray[np.int64]) -> dict[str, Any]:
    return {"title": title, "remark": remark, "n_total": stamps.num_rows, "stamps": stamps.take(pa.array(chosen))}
