"""A page for visual inspection: top candidates, worst false positives, missed lenses, graded by keyboard."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
from markupsafe import Markup
from numpy.typing import NDArray

from dark_halo_scope.evaluation.completeness import column_values
from dark_halo_scope.evaluation.examples import ReadStamps
from dark_halo_scope.evaluation.metrics import roc_counts
from dark_halo_scope.evaluation.rgb import panels, png_data_uri
from dark_halo_scope.evaluation.scores import SCORE_SCHEMA, ScoreFileError, read_scores
from dark_halo_scope.files import sha256, write_atomically
from dark_halo_scope.pages.page import render_page

KINDS = {"candidate": "top candidates", "false_positive": "worst false positives", "missed": "missed lenses"}
DEFAULT_FPR = 0.01
# What may be read while grading blind: it says where a stamp lies and how it was observed, not what is in it.
_BLIND_COLUMNS = ("ra", "dec", "brickname", "region_id", "psf", "host_mag", "bad_pixel_frac", "wise_brightmask_frac")
_UNINTERESTING = ("cutout_ok", "region_split", "stamp_id")
_ID_COLUMNS = ("stamp_id", "id", "objid", "name")


@dataclass(frozen=True)
class Chosen:
    """Stamps of a gallery.

    Attributes:
        table: their scores and metadata, highest score first.
        kinds: of each, which of `KINDS` it belongs to.
        n_total: how many stamps there are of each kind.
        threshold: logit that tells found from missed; None without labels.
        told: how the threshold was chosen.
    """

    table: pa.Table
    kinds: list[list[str]]
    n_total: dict[str, int]
    threshold: float | None
    told: str


def write_gallery(
    out: Path,
    scores_path: Path,
    read_stamps: ReadStamps,
    n: int = 70,
    split: str | None = None,
    threshold: float | None = None,
) -> Chosen:
    """Write the page.

    Args:
        out: the HTML file.
        scores_path: score file, with or without labels.
        read_stamps: maps dataset rows (n,) to pixels (n, 3, 64, 64) in nanomaggies.
        n: stamps of each kind at most.
        split: stamps to choose from; test where the file has labels there, else the whole file.
        threshold: logit from which a stamp counts as found; that which 1 % of the controls pass where none is given.

    Raises:
        ScoreFileError: there is no stamp to show.
    """
    table, _ = read_scores(scores_path)
    chosen = choose(_of_split(table, split, str(scores_path)), n, threshold)
    images = read_stamps(chosen.table["row"].to_numpy())
    columns = shown_columns(chosen.table)
    records = [
        _record(stamp, name, kinds, image, columns)
        for stamp, name, kinds, image in zip(
            chosen.table.to_pylist(), _names(chosen.table), chosen.kinds, images, strict=True
        )
    ]
    digest = sha256(scores_path)
    data = {
        "sha256": digest,
        "kinds": {kind: title for kind, title in KINDS.items() if chosen.n_total[kind]},
        "numeric": [name for name in columns if _is_number(chosen.table.schema.field(name).type)],
        "blind": [name for name in columns if name.startswith(_BLIND_COLUMNS)],
        "stamps": records,
    }
    page = render_page(
        "dark_halo_scope.evaluation",
        "gallery.html.j2",
        file=f"{scores_path.resolve().parent.name}/{scores_path.name}",
        sha256=digest,
        chosen=chosen,
        kind_names=KINDS,
        data=Markup(json.dumps(data, allow_nan=False).replace("<", "\\u003c")),
    )
    write_atomically(out, page.encode())
    return chosen


def choose(scores: pa.Table, n: int, threshold: float | None = None) -> Chosen:
    """Choose what to look at, each stamp once: highest scores; controls found; lenses missed, brightest arcs first.

    Without lenses and controls among the labels there are candidates only, unless a threshold is given.
    """
    logits = scores["logit"].to_numpy()
    by_score = np.argsort(-logits, kind="stable")
    groups = {"candidate": by_score, "false_positive": by_score[:0], "missed": by_score[:0]}
    label = scores["label"].fill_null(-1).to_numpy()
    told = "chosen by hand"
    if threshold is None and {0, 1} <= set(label.tolist()):
        threshold, told = _default_threshold(logits, label)
    if threshold is None:
        told = "without labels of lenses and of controls nothing is called found or missed"
    else:
        found = logits >= np.float32(threshold)
        missed = np.flatnonzero(~found & (label == 1))
        groups["false_positive"] = by_score[(found & (label == 0))[by_score]]
        groups["missed"] = missed[np.argsort(-_brightness(scores)[missed], kind="stable")]
    shown = {kind: set(rows[:n].tolist()) for kind, rows in groups.items()}
    rows = sorted(set().union(*shown.values()), key=lambda row: (-logits[row], row))
    kinds = [[kind for kind in KINDS if row in shown[kind]] for row in rows]
    n_total = {kind: len(members) for kind, members in groups.items()}
    return Chosen(scores.take(pa.array(rows, pa.int64())), kinds, n_total, threshold, told)


def shown_columns(table: pa.Table) -> list[str]:
    """Columns of metadata that a reader can use: single values that are not those of the score itself."""
    return [
        field.name
        for field in table.schema
        if field.name not in SCORE_SCHEMA.names
        and field.name not in _UNINTERESTING
        and (_is_number(field.type) or pat.is_string(field.type) or pat.is_large_string(field.type))
        and table[field.name].null_count < table.num_rows
    ]


def _of_split(table: pa.Table, split: str | None, source: str) -> pa.Table:
    if split is None and pc.any(pc.and_(pc.equal(table["split"], "test"), table["label"].is_valid())).as_py():
        split = "test"
    chosen = table if split is None else table.filter(pc.equal(table["split"], split))
    if not chosen.num_rows:
        raise ScoreFileError(f"{source} holds no stamp of split {split!r}: there is nothing to show")
    return chosen


def _default_threshold(logits: NDArray[np.float32], label: NDArray[np.int8]) -> tuple[float, str]:
    """The loosest logit that at most 1 % of the controls pass, or just the first of them in a small sample."""
    known = label >= 0
    counts = roc_counts(logits[known], label[known])
    allowed = max(1.0, DEFAULT_FPR * counts.controls[-1])
    index = max(0, int(np.searchsorted(counts.controls, allowed, side="right")) - 1)
    return float(counts.thresholds[index]), f"{DEFAULT_FPR:.0%} of the controls here pass it"


def _brightness(scores: pa.Table) -> NDArray[np.float64]:
    """What makes a missed lens worth a look: the signal-to-noise of its arc, or else its score."""
    if "arc_snr" in scores.column_names:
        return np.nan_to_num(column_values(scores, "arc_snr"), nan=-np.inf)
    return scores["logit"].to_numpy().astype(np.float64)


def _is_number(kind: pa.DataType) -> bool:
    return pat.is_floating(kind) or pat.is_integer(kind)


def _names(table: pa.Table) -> list[str]:
    """What a grade belongs to: the first column of ids that tells all stamps apart, or else the row."""
    for column in _ID_COLUMNS:
        if column in table.column_names and pc.count_distinct(table[column]).as_py() == table.num_rows:
            return table[column].cast(pa.string()).to_pylist()
    return [f"row-{row}" for row in table["row"].to_pylist()]


def _record(
    stamp: dict[str, Any], name: str, kinds: list[str], image: NDArray[np.float32], columns: list[str]
) -> dict[str, Any]:
    """One stamp for the page's script."""
    facts = {column: _plain(stamp[column]) for column in columns if _plain(stamp[column]) is not None}
    return {
        "id": name,
        "row": stamp["row"],
        "kinds": kinds,
        "label": stamp["label"],
        "logit": _plain(stamp["logit"]),
        "probability": _plain(stamp["probability"]),
        "facts": facts,
        "image": png_data_uri(panels(image)),
    }


def _plain(value: Any) -> Any:
    """A number with six significant digits, None where it is not finite; anything else as it is."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
