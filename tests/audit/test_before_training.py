import json
import logging

import pytest

from dark_halo_scope.audit.audit import FILES
from dark_halo_scope.audit.before_training import audit_before_training
from dark_halo_scope.audit.settings import AuditError
from dark_halo_scope.stamps.index import StampIndex
from tests.audit.planting import COLUMNS, rows_where, settings, with_images, write


def before(root, folder, run, **changes):
    index = StampIndex.build(str(root))
    return audit_before_training(
        index, folder / run, settings(n_stamps=240, **changes), folder / "audits", **COLUMNS, progress=False
    )


def test_a_second_run_on_the_same_data_pays_nothing(clean_root, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    record = before(clean_root, tmp_path, "first")
    assert "audited the dataset in" in caplog.text
    caplog.clear()
    assert before(clean_root, tmp_path, "second") == record
    assert "audited the dataset in" not in caplog.text
    for name in FILES:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert json.loads((tmp_path / "second" / "audit.json").read_text())["dataset"]["rows"] == 960
    before(clean_root, tmp_path, "third", seed=5)
    assert "audited the dataset in" in caplog.text


def test_a_gate_that_fails_warns_or_stops(clean, tmp_path, caplog):
    planted = with_images(clean, rows_where(clean, lens=True), lambda image: image + 0.02)
    root = write(planted, tmp_path / "data")
    assert before(root, tmp_path, "warned")["verdict"] == "fail"
    assert "Empty sky, or all metadata" in caplog.text
    with pytest.raises(AuditError, match=r"Empty sky.*audit\.mode=warn"):
        before(root, tmp_path, "stopped", mode="stop")
    assert (tmp_path / "stopped" / "audit.html").exists()


def test_off_is_off(clean_root, tmp_path):
    assert before(clean_root, tmp_path, "off", mode="off") is None
    assert not (tmp_path / "off").exists()
