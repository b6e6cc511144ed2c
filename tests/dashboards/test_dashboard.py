"""The dashboard against what runs really log: three jobs of one `train.py -m`, read back from their offline files."""

import json
import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from dark_halo_scope.callbacks.cache import COUNTS
from dark_halo_scope.commands import dashboard
from dark_halo_scope.dashboards.dashboard import DashboardError
from tests.dashboards.server import WandbServer
from tests.runs import command

KEY = "0123456789" * 4
LEET = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json"]
NOT_ON_A_CPU = re.compile(r"system/gpu\.\d\.gpu|throughput/gpu_memory_gib")
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The run folders of a multirun of three short jobs with a budget."""
    folder = tmp_path_factory.mktemp("multirun")
    short = ["experiment=lens_small_cnn", "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "logger=wandb"]
    budget = ["callbacks=[default,budget]", "callbacks.budget.usd_per_hour=1", "callbacks.budget.max_hours=1"]
    often = {"WANDB_X_STATS_SAMPLING_INTERVAL": "0.5"}  # seconds: of the machine, more than once in a run this short
    words = [*command(folder, *short, *budget, "seed=1,2,3"), "-m"]
    done = subprocess.run(words, env=os.environ | often, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return sorted((folder / "logs" / "lens_small_cnn").glob("multirun-*/[0-9]"))


@pytest.fixture(scope="module")
def summaries(jobs: list[Path]) -> list[dict[str, Any]]:
    return [json.loads(inspect(job, "--summary")) for job in jobs]


@pytest.fixture(scope="module")
def logged(jobs: list[Path]) -> set[str]:
    """Every key that the first job logged; those of the machine as W&B's pages call them."""
    keys: set[str] = set()
    for line in inspect(jobs[0]).splitlines():
        record = json.loads(line)
        if record["type"] == "history":
            keys |= {key.removesuffix("._type") for key in record["history"]["item"]}
        elif record["type"] == "stats":
            keys |= {f"system/{key}" for key in record["stats"]["item"]}
    return keys


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A user without a key; W&B reads its environment once a session, so each test gets one of its own."""
    wandb.teardown()
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.chdir(tmp_path)
    yield
    wandb.teardown()


def inspect(job: Path, *options: str) -> str:
    (offline,) = (job / "wandb").glob("offline-run-*")
    return subprocess.run([*LEET, *options, str(offline)], capture_output=True, text=True, check=True).stdout


def halo_dashboard(*words: str) -> None:
    parser = ArgumentParser()
    dashboard.add(parser.add_subparsers())
    arguments, overrides = parser.parse_known_args(["dashboard", *words])
    arguments.run(arguments, overrides)


def written(path: Path) -> dict[str, Any]:
    """Panels by the name of their section."""
    sections = json.loads(path.read_text())["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


def keys_of(panel: dict[str, Any]) -> list[str]:
    """What a panel names, as it is sent: a metric, ``summary:...``, ``config:...`` or a table."""
    config = panel["config"]
    match panel["viewType"]:
        case "Run History Line Plot" | "Bar Chart":
            return [key for key in (*config["metrics"], config.get("xAxis")) if key not in (None, "_runtime")]
        case "Vega2":
            fields = config["userQuery"]["queryFields"][0]["fields"]
            return [arg["value"] for field in fields for arg in field.get("args", []) if arg["name"] == "tableKey"]
        case "Weave":
            return [config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]]
        case "Parallel Coordinates Plot":
            return [column["accessor"] for column in config["columns"]]
        case "Scatter Plot":
            return [config["xAxis"], config["yAxis"]]
        case "Parameter Importance":
            return [f"summary:{config['targetKey']}"]
        case "Markdown Panel" | "Run Comparer":
            return []
    raise AssertionError(panel["viewType"])


def found(node: Any, path: str) -> bool:
    """Whether a nested mapping has a dotted key, whatever dots its own keys have."""
    return isinstance(node, dict) and any(
        path == key or (path.startswith(f"{key}.") and found(value, path.removeprefix(f"{key}.")))
        for key, value in node.items()
    )


@pytest.mark.slow
def test_each_job_of_a_multirun_is_a_run_with_its_own_summary(jobs: list[Path], summaries: list[dict[str, Any]]):
    assert len({told["run_id"] for told in summaries}) == 3
    for job, seed, told in zip(jobs, SEEDS, summaries, strict=True):
        assert (told["state"], told["run_id"]) == ("finished", (job / "wandb_run_id").read_text())
        assert told["name"] == f"{job.parent.name}/{job.name}"
        assert told["config"]["seed"] == seed
        metrics = json.loads((job / "metrics.json").read_text())
        history = json.loads((job / "history.json").read_text())["metrics"]
        assert told["summary"]["test/auroc"] == pytest.approx(metrics["test"]["auroc"], abs=1e-6)
        assert told["summary"]["val/auroc"]["max"] == pytest.approx(history["val/auroc"]["best"], abs=1e-6)


@pytest.mark.slow
def test_runs_are_tagged_with_what_they_are_picked_out_by(jobs: list[Path], summaries: list[dict[str, Any]]):
    fingerprint = json.loads((jobs[0] / "provenance.json").read_text())["data_fingerprint"]
    for told in summaries:
        assert told["tags"] == [
            "experiment=lens_small_cnn",
            "model=small_cnn",
            "transforms=annulus_asinh",
            "survey=tiny",
            f"data={fingerprint[:12]}",
        ]
        assert told["config"]["choices"]["transforms/augment"] == "d4"


@pytest.mark.slow
def test_every_panel_names_what_a_run_logs(
    tmp_path: Path, no_key: None, logged: set[str], summaries: list[dict[str, Any]]
):
    halo_dashboard("--out", str(tmp_path / "dashboard.json"))
    sections = written(tmp_path / "dashboard.json")
    assert list(sections) == [
        "Training",
        "Calibration",
        "Errors",
        "Sweep",
        "Throughput and hardware",
        "Provenance",
    ]
    cache = {f"cache/{name.replace('bytes', 'gb')}" for name in COUNTS}
    for panel in (panel for panels in sections.values() for panel in panels):
        for key in keys_of(panel):
            section, _, name = key.rpartition(":")
            if section:
                node = summaries[0][section]
                assert found(node, name.replace(".value", "", 1) if section == "config" else name), key
            else:
                assert key in logged | cache or NOT_ON_A_CPU.fullmatch(key), key


def test_the_sweep_section_is_that_of_the_search_asked_for(tmp_path: Path, no_key: None):
    words = ["search_space=small", "optimizer.lr=interval(1e-5,1e-3)", "monitor.metric=val/pauc_fpr_1e-2"]
    halo_dashboard("--out", str(tmp_path / "small.json"), *words)
    (parallel,) = (p for p in written(tmp_path / "small.json")["Sweep"] if p["viewType"] == "Parallel Coordinates Plot")
    axes = {column["accessor"]: column.get("log", False) for column in parallel["config"]["columns"]}
    assert axes["config:choices.value.model"] is False
    assert axes["config:optimizer.value.lr"] is False  # as the command line has it
    assert axes["config:optimizer.value.weight_decay"] is True
    assert list(axes)[-1] == "summary:val/pauc_fpr_1e-2.max"


def test_without_a_key_it_is_a_file_and_says_so(tmp_path: Path, no_key: None, capsys: pytest.CaptureFixture[str]):
    halo_dashboard("--project", "lenses")
    said = capsys.readouterr().out
    assert "in dashboard.json" in said
    assert "wandb login" in said
    assert json.loads((tmp_path / "dashboard.json").read_text())["project"] == "lenses"


def test_with_a_key_it_is_saved_for_the_user_of_the_key(
    no_key: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        halo_dashboard("--project", "lenses")
        wandb.teardown()
    (saved,) = server.views
    assert (saved["entityName"], saved["projectName"], saved["displayName"]) == ("team", "lenses", "Dark Halo Scope")
    assert len(json.loads(saved["spec"])["section"]["panelBankConfig"]["sections"]) == 6
    assert f"dashboard: {server.url}/team/lenses?nw=" in capsys.readouterr().out


def test_a_key_that_the_server_does_not_take_is_told_in_a_sentence(no_key: None, monkeypatch: pytest.MonkeyPatch):
    with WandbServer(status=401) as server:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        for entity in ([], ["--entity", "team"]):
            with pytest.raises(DashboardError, match=r"401.*wandb login"):
                halo_dashboard(*entity)
        wandb.teardown()


def test_runs_that_do_not_log_there_have_no_dashboard(no_key: None, tmp_path: Path):
    with pytest.raises(DashboardError, match="choose wandb or wandb_csv"):
        halo_dashboard("--out", str(tmp_path / "dashboard.json"), "logger=csv")
