"""The score file: one row a stamp, the only thing evaluation numbers are computed from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from dark_halo_scope.files import write_atomically

SCORE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),  # position of the stamp in the dataset
        pa.field("split", pa.string()),  # train, val or test; null where the data have no splits
        pa.field("label", pa.int8()),  # 1 = lens, 0 = control; null where nobody knows
        pa.field("logit", pa.float32()),  # network output, uncalibrated: the score that ranks
        pa.field("probability", pa.float64()),  # calibrated, at the prevalence of the training survey; null without
    ]
)
SPLITS = ("train", "val", "test")
_MAY_BE_UNKNOWN = ("split", "label", "probability")
_PROVENANCE_KEY = b"dark_halo_scope"


class ScoreFileError(ValueError):
    """A score file is not what it must be."""


def score_table(
    rows: ArrayLike,
    split: str | Sequence[str] | None,
    labels: ArrayLike | None,
    logits: ArrayLike,
    probabilities: ArrayLike | None,
    metadata: pa.Table,
) -> pa.Table:
    """Assemble scores and the stamps' own columns, in the same order.

    A metadata column whose name a score already uses is kept as ``<name>_in_data``.

    Args:
        rows: positions in the dataset.
        split: one for all, or that of each; None where the data know no splits.
        labels: None where the data know none.
        logits: scores that rank.
        probabilities: None where nothing calibrates the logits.
        metadata: the stamps' own columns.
    """
    scores = {
        "row": np.asarray(rows),
        "split": [split] * metadata.num_rows if isinstance(split, str) else split,
        "label": labels,
        "logit": np.asarray(logits),
        "probability": probabilities,
    }
    unknown = [None] * metadata.num_rows
    columns = {name: unknown if values is None else values for name, values in scores.items()}
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCORE_SCHEMA})
    for name, column in zip(metadata.column_names, metadata.columns, strict=True):
        while name in SCORE_SCHEMA.names or name in table.column_names:
            name = f"{name}_in_data"
        table = table.append_column(name, column)
    return table


def check_scores(table: pa.Table, source: str) -> None:
    """Refuse a table that evaluation would misread; `source` names it in the message."""
    for field in SCORE_SCHEMA:
        if field.name not in table.column_names:
            raise ScoreFileError(f"{source} has no column `{field.name}`: it is not a score file; score the data anew")
        if table.schema.field(field.name).type != field.type:
            found = table.schema.field(field.name).type
            raise ScoreFileError(f"column `{field.name}` of {source} is {found}, not {field.type}: score the data anew")
        if table[field.name].null_count and field.name not in _MAY_BE_UNKNOWN:
            raise ScoreFileError(f"column `{field.name}` of {source} has nulls: score the data anew")
    rows = table["row"].to_numpy()
    repeated = rows.size - np.unique(rows).size
    if repeated:
        raise ScoreFileError(f"{repeated} stamps of {source} are scored more than once: score the data anew")


def labelled_splits(table: pa.Table, source: str) -> dict[str, pa.Table]:
    """The stamps of every split whose labels are known, by the name of the split.

    Stamps of data without splits are test stamps: nothing was fitted on them.

    Raises:
        ScoreFileError: a split is labelled in part only.
    """
    parts = {}
    split_of = table["split"].fill_null("test")
    for split in SPLITS:
        part = table.filter(pc.equal(split_of, split))
        n_unknown = part["label"].null_count
        if 0 < n_unknown < part.num_rows:
            raise ScoreFileError(
                f"{n_unknown} of {part.num_rows} stamps of split {split!r} in {source} have no label: "
                "score them apart, or label them"
            )
        if part.num_rows > n_unknown:
            parts[split] = part
    return parts


def write_scores(path: Path, table: pa.Table, provenance: Mapping[str, Any]) -> None:
    """Write a checked score table and where it comes from (JSON-able) as one parquet file, in one step."""
    check_scores(table, str(path))
    metadata = (table.schema.metadata or {}) | {_PROVENANCE_KEY: json.dumps(dict(provenance)).encode()}
    buffer = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue().to_pybytes())


def read_scores(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Read a score file back.

    Returns:
        The table and the provenance it was written with.

    Raises:
        ScoreFileError: not parquet, or not the score schema, or a stamp scored twice.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ScoreFileError(f"{path} cannot be read as a score file ({error}): score the data anew") from error
    check_scores(table, str(path))
    return table, json.loads((table.schema.metadata or {}).get(_PROVENANCE_KEY, b"{}"))
