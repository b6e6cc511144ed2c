import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dark_halo_scope.evaluation.scores import ScoreFileError, labelled_splits, read_scores, score_table, write_scores


def table(**changes):
    columns = {
        "rows": [7, 3],
        "split": "val",
        "labels": np.array([1, 0]),
        "logits": np.array([2.5, -1.0], np.float32),
        "probabilities": [0.9, 0.2],
        "metadata": pa.table({"stamp_id": ["a", "b"], "arc_snr": pa.array([4.0, None])}),
    }
    return score_table(**(columns | changes))


def test_scores_come_back_as_written_with_their_provenance(tmp_path):
    written = table()
    write_scores(tmp_path / "scores.parquet", written, {"data_fingerprint": "abc", "checkpoint": "best.ckpt"})
    read, provenance = read_scores(tmp_path / "scores.parquet")
    assert read.equals(written)
    assert provenance == {"data_fingerprint": "abc", "checkpoint": "best.ckpt"}
    assert read.column_names == ["row", "split", "label", "logit", "probability", "stamp_id", "arc_snr"]
    assert read["logit"].type == pa.float32()


def test_logits_keep_every_bit(tmp_path):
    logits = np.random.default_rng(0).standard_normal(2).astype(np.float32)
    write_scores(tmp_path / "s.parquet", table(logits=logits), {})
    np.testing.assert_array_equal(read_scores(tmp_path / "s.parquet")[0]["logit"].to_numpy(), logits)


def test_a_survey_may_use_the_names_of_scores():
    metadata = pa.table({"label": ["good", "bad"], "probability": [0.1, 0.2]})
    assert table(metadata=metadata).column_names[-2:] == ["label_in_data", "probability_in_data"]


def test_a_stamp_scored_twice_is_refused(tmp_path):
    with pytest.raises(ScoreFileError, match=r"1 stamps of .* more than once"):
        write_scores(tmp_path / "scores.parquet", table(rows=[3, 3]), {})
    assert not (tmp_path / "scores.parquet").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop_columns("logit"), r"no column `logit`"),
        (lambda t: t.set_column(3, "logit", t["logit"].cast(pa.float64())), r"`logit` .* is double, not float"),
        (lambda t: t.set_column(3, "logit", pa.array([1, None], pa.float32())), r"`logit` .* has nulls"),
    ],
)
def test_a_file_that_is_not_a_score_file_is_refused(tmp_path, spoil, message):
    pq.write_table(spoil(table()), tmp_path / "other.parquet")
    with pytest.raises(ScoreFileError, match=message):
        read_scores(tmp_path / "other.parquet")


def test_stamps_of_unknown_class_may_be_scored_but_not_evaluated(tmp_path):
    unknown = table().set_column(2, "label", pa.nulls(2, pa.int8()))
    write_scores(tmp_path / "scores.parquet", unknown, {})
    assert labelled_splits(read_scores(tmp_path / "scores.parquet")[0], "a file") == {}
    assert labelled_splits(table(), "a file") == {"val": table()}
    without_split = table(split=None)
    assert labelled_splits(without_split, "a file") == {"test": without_split}
    half = table().set_column(2, "label", pa.array([1, None], pa.int8()))
    with pytest.raises(ScoreFileError, match=r"1 of 2 stamps of split 'val' in a file have no label"):
        labelled_splits(half, "a file")


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "scores.parquet"
    write_scores(path, table(), {})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ScoreFileError, match="cannot be read"):
        read_scores(path)
