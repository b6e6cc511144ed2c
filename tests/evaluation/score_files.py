"""Score files of the same simulated stamps, by finders of different noise."""

import numpy as np
import pyarrow as pa

from dark_halo_scope.evaluation.comparison import ScoreFile, short_names
from dark_halo_scope.evaluation.scores import score_table, write_scores
from tests.evaluation.run_folder import make_sample

SAMPLE = make_sample(2400, 30, first_row=0, seed=3)


def write(path, extra_noise: float = 0.0, rows=slice(None), seed: int = 0, fingerprint: str = "data"):
    noise = extra_noise * np.random.default_rng(seed).standard_normal(SAMPLE.logits.size)
    logits = (SAMPLE.logits + noise).astype(np.float32)[rows]
    table = score_table(
        SAMPLE.rows[rows], "test", SAMPLE.labels[rows], logits, np.full(logits.size, 0.5), SAMPLE.metadata[rows]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(table.num_rows)  # files need not be in the same order
    write_scores(path, table.take(pa.array(order)), {"data_fingerprint": fingerprint})
    return path


def read(*paths):
    return [ScoreFile.read(name, path, "test") for name, path in zip(short_names(paths), paths, strict=True)]
