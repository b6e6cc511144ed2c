"""The score file: one row a stamp, the only thing evaluation numbers are computed from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from dark_halo_scope.files import write_atomically

SCORE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),  # position of the stamp in the dataset
        pa.field("split", pa.string()),  # train, val or test
        pa.field("label", pa.int8()),  # 1 = lens, 0 = control
        pa.field("logit", pa.float32()),  # network output, uncalibrated: the score that ranks
        pa.field("probability", pa.float64()),  # calibrated, at the prevalence of the training survey
    ]
)
_PROVENANCE_KEY = b"dark_halo_scope"


class ScoreFileError(ValueError):
    """A score file is not what it must be."""


def score_table(
    rows: ArrayLike,
    split: str,
    labels: ArrayLike,
    logits: ArrayLike,
    probabilities: ArrayLike,
    metadata: pa.Table,
) -> pa.Table:
    """Assemble the scores of one split and the stamps' own columns, in the same order.

    A metadata column whose name a score already uses is kept as ``<name>_in_data``.
    """
    scores = {
        "row": np.asarray(rows),
        "split": [split] * metadata.num_rows,
        "label": np.asarray(labels),
        "logit": np.asarray(logits),
        "probability": np.asarray(probabilities),
    }
    table = pa.table({field.name: pa.array(scores[field.name], field.type) for field in SCORE_SCHEMA})
    for name in metadata.column_names:
        kept = f"{name}_in_data" if name in SCORE_SCHEMA.names else name
        table = table.append_column(kept, metadata[name])
    return table


def check_scores(table: pa.Table, source: str) -> None:
    """Refuse a table that evaluation would misread; `source` names it in the message."""
    for field in SCORE_SCHEMA:
        if field.name not in table.column_names:
            raise ScoreFileError(f"{source} has no column `{field.name}`: it is not a score file; score the data anew")
        if table.schema.field(field.name).type != field.type:
            found = table.schema.field(field.name).type
            raise ScoreFileError(f"column `{field.name}` of {source} is {found}, not {field.type}: score the data anew")
        if table[field.name].null_count:
            raise ScoreFileError(f"column `{field.name}` of {source} has nulls: score the data anew")
    rows = table["row"].to_numpy()
    repeated = rows.size - np.unique(rows).size
    if repeated:
        raise ScoreFileError(f"{repeated} stamps of {source} are scored more than once: score the data anew")


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
