import argparse
import json

import pytest
from omegaconf.errors import ConfigKeyError

from dark_halo_scope.commands import audit
from tests.audit.planting import replaced, rows_where, write

FEW = ["n_stamps=200", "n_resamples=50"]


def halo(*words, overrides=()):
    parser = argparse.ArgumentParser()
    audit.add(parser.add_subparsers())
    arguments = parser.parse_args(["audit", *map(str, words)])
    arguments.run(arguments, [*FEW, *overrides])


@pytest.fixture(scope="module")
def leaking_root(clean, tmp_path_factory):
    host = clean["host_id"][rows_where(clean, split="train")[0]].as_py()
    table = replaced(clean, "host_id", {rows_where(clean, split="val")[0]: host})
    return write(table, tmp_path_factory.mktemp("leak") / "leaking")


def test_a_failing_gate_is_the_exit_code_only_where_asked(leaking_root, tmp_path, capsys):
    halo(leaking_root, "--out", tmp_path)
    told = capsys.readouterr().out
    assert "Hosts in two splits" in told
    assert "verdict: fail" in told
    with pytest.raises(SystemExit) as exit_:
        halo(leaking_root, "--out", tmp_path, "--strict")
    assert exit_.value.code == 1


def test_the_page_and_its_numbers_lie_in_the_logs_under_the_name_of_the_data(clean_root, tmp_path, monkeypatch):
    monkeypatch.setenv("HALO_LOGS", str(tmp_path))
    halo(clean_root, "--strict")
    (folder,) = (tmp_path / "audit").iterdir()
    record = json.loads((folder / "audit.json").read_text())
    assert folder.name == f"survey-{record['dataset']['fingerprint'][:8]}"
    page = (folder / "audit.html").read_text()
    for gate in record["gates"]:
        assert gate["name"] in page
    assert record["sample"]["stamps"] == 200
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_other_columns_and_keys_that_do_not_exist(clean, tmp_path, capsys):
    root = write(clean.rename_columns({"region_id": "patch"}), tmp_path / "data")
    halo(root, "--out", tmp_path / "out", "--strict", overrides=["region_column=patch"])
    assert "values of patch" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ConfigKeyError, match="n_stars"):
        halo(root, overrides=["n_stars=3"])
