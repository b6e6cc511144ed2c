import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import wandb

from dark_halo_scope.files import WriteError
from dark_halo_scope.loggers.wandb import RunWandbLogger, finish_wandb, mode_by_key, wandb_logger

KEY = "0123456789" * 4


@pytest.fixture(autouse=True)
def no_run_left() -> Iterator[None]:
    """W&B reads its environment once a session: each test gets a session of its own."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    held = []

    def accept() -> None:
        try:
            while True:
                held.append(server.accept()[0])
        except OSError:  # closed below
            return

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()
    for connection in held:
        connection.close()


def offline_folders(run_dir):
    return sorted((run_dir / "wandb").glob("offline-run-*"))


def test_without_a_key_it_is_offline(no_key):
    assert mode_by_key() == "offline"


def test_a_key_in_the_environment_makes_it_online(no_key, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert mode_by_key() == "online"


def test_a_key_in_netrc_counts_for_its_own_server_only(no_key, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text(f"machine wandb.example.org login user password {KEY}\n")
    assert mode_by_key() == "offline"
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert mode_by_key() == "online"


def test_a_broken_netrc_means_offline_and_a_warning(no_key, tmp_path, caplog):
    (tmp_path / "netrc").write_text("this is no netrc\n")
    assert mode_by_key() == "offline"
    assert "cannot be read" in caplog.text


def test_wandb_mode_decides_if_it_is_set(no_key, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert mode_by_key() == "offline"


def test_a_resumed_run_keeps_its_id(tmp_path):
    for _ in range(2):
        logger = wandb_logger(str(tmp_path), "project")
        logger.log_metrics({"val/auroc": 0.5}, step=1)
        assert logger.version == (tmp_path / "wandb_run_id").read_text()
        finish_wandb()
        time.sleep(1.1)  # offline folders are named by the second
    assert len(offline_folders(tmp_path)) == 2
    assert len({folder.name.rpartition("-")[2] for folder in offline_folders(tmp_path)}) == 1


def test_a_server_that_never_answers_costs_seconds_and_the_run_goes_on_offline(
    no_key, monkeypatch, tmp_path, silent_server, caplog
):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", silent_server)
    start = time.monotonic()
    logger = wandb_logger(str(tmp_path), "project", init_timeout_s=1)
    assert time.monotonic() - start < 60
    logger.log_metrics({"val/auroc": 0.5}, step=1)
    finish_wandb()
    assert "the run goes on offline" in caplog.text
    (folder,) = offline_folders(tmp_path)
    assert folder.name.endswith((tmp_path / "wandb_run_id").read_text())


def test_a_malformed_key_does_not_stop_the_run(no_key, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    wandb_logger(str(tmp_path), "project")
    finish_wandb()
    assert "the run goes on offline" in caplog.text
    assert len(offline_folders(tmp_path)) == 1


def test_where_not_even_offline_works_the_run_goes_on_without(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    (tmp_path / "wandb").write_text("a file where the folder should be")
    logger = wandb_logger(str(tmp_path), "project")
    logger.log_metrics({"val/auroc": 0.5}, step=1)
    finish_wandb()
    assert "the run goes on without it" in caplog.text


def test_a_run_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(WriteError, match=r"cannot write .*wandb_run_id"):
        wandb_logger(str(tmp_path / "run"), "project")


def test_wandb_dying_in_the_middle_is_told_once_and_training_goes_on(tmp_path):
    child = subprocess.run(
        [sys.executable, "-m", "tests.loggers.service_dies", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert child.stderr.count("goes on without it") == 1
    assert child.stdout == "still here\nnext run: offline\n"


def test_only_rank_0_starts_a_run(tmp_path):
    code = f"""
import dark_halo_scope.torchvision_ops
from dark_halo_scope.loggers.wandb import wandb_logger
logger = wandb_logger({str(tmp_path)!r}, "project")
logger.log_metrics({{"a": 1.0}}, step=1)
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"LOCAL_RANK": "1"}, check=True)
    assert not (tmp_path / "wandb").exists()
    assert not (tmp_path / "wandb_run_id").exists()


def test_it_is_lightnings_logger(tmp_path):
    logger = wandb_logger(str(tmp_path), "project")
    finish_wandb()
    assert isinstance(logger, RunWandbLogger)
    assert logger.save_dir == str(tmp_path)
