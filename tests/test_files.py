import hashlib
import json

import pytest

from dark_halo_scope.files import WriteError, sha256, write_atomically, write_json


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    write_atomically(path, b"first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"auroc": 0.97})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"auroc": float("nan")})
    assert json.loads(path.read_text()) == {"auroc": 0.97}


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path, files_end_at_one_mebibyte):
    path = tmp_path / "scores.parquet"
    write_atomically(path, b"old")
    with pytest.raises(WriteError, match="what was there before is untouched: make room there"):
        write_atomically(path, bytes(2**21))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["scores.parquet"]


def test_sha256_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"stamp")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"stamp").hexdigest()
