"""A sweep on a cluster, whose hosts are Ray nodes of this machine: interrupted, given again, joined and left."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bases.sweeps import command, descendants, is_alive, ray_folder, start, wait_for
from tests.bases.toys import Toy, notes, records

RAY = str(Path(sys.executable).with_name("ray"))


class Hosts:
    """Ray nodes with two cores and one pretended GPU each."""

    def __init__(self):
        with socket.socket() as listener:
            listener.bind(("", 0))
            self.port = listener.getsockname()[1]
        self.nodes: list[subprocess.Popen[bytes]] = []

    def add(self) -> None:
        """Start the head, or another one that joins it."""
        role = [f"--address={socket.gethostbyname(socket.gethostname())}:{self.port}"]
        if not self.nodes:
            role = ["--head", f"--port={self.port}", "--include-dashboard=false", "--disable-usage-stats"]
        size = ["--num-cpus=2", "--num-gpus=1", "--object-store-memory=80000000"]
        said = subprocess.DEVNULL
        self.nodes.append(subprocess.Popen([RAY, "start", "--block", *role, *size], stdout=said, stderr=said))

    def lose(self) -> None:
        """Let the newest one lose its power."""
        node = self.nodes.pop()
        for pid in (node.pid, *descendants(node.pid)):
            os.kill(pid, signal.SIGKILL)
        node.wait()


@pytest.fixture
def hosts(monkeypatch):
    with ray_folder() as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        hosts = Hosts()
        yield hosts
        while hosts.nodes:
            hosts.lose()


@pytest.mark.slow
def test_a_lost_host_costs_no_job(tmp_path: Path, hosts: Hosts):
    data, gate = tmp_path / "data", tmp_path / "gate"
    hosts.add()
    swept = ["data.batch_size=1", "seed=range(4)"]
    cluster = ["hydra.launcher.executor.address=auto", "hydra.launcher.executor.job_gpus=0.5"]
    wait_for(lambda: (Path(os.environ["RAY_TMPDIR"]) / "ray" / "ray_current_cluster").exists())
    said, _ = start(command(tmp_path, *swept, *cluster, "hydra.launcher.executor.base_gpus=2")).communicate(timeout=120)
    assert "refused: no machine has 1 CPUs and 2 GPUs for a base" in said

    driver = start(command(tmp_path, *swept, *cluster), TOY_GATE=str(gate))
    interrupted = wait_for(lambda: len(found := notes(data, "job")) == 2 and found)  # two share a GPU, others wait
    os.killpg(driver.pid, signal.SIGINT)  # as Ctrl-C does
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, said
    assert "4 jobs, 4 not done" in said
    assert "to go on with what is not done: python train.py -m" in said
    assert "Traceback" not in said
    wait_for(lambda: not any(is_alive(int(pid)) for *_, pid, _ in interrupted))

    driver = start(command(tmp_path, *swept, *cluster), TOY_GATE=str(gate))
    wait_for(lambda: len(notes(data, "job")) == 4)
    hosts.add()
    wait_for(lambda: len({raylet for *_, raylet in notes(data, "job")}) == 2)
    hosts.lose()
    gate.touch()
    said, _ = driver.communicate(timeout=120)

    assert driver.returncode == 0, said
    assert [line["state"] for line in records(tmp_path / "sweep")] == ["done"] * 4
    bases, tunings = Toy(data, 0, 0).stores()
    assert bases.check(Toy(data, 1, 0).base_spec.key()) == ""
    assert [tunings.check(Toy(data, 1, job).tuning.key()) for job in range(4)] == [""] * 4
    assert len(notes(data, "base")) == 1
    assert len({pid for *_, pid, _ in notes(data, "job")}) == len(notes(data, "job"))  # each in a process of its own


def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with ray_folder() as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        driver = start(command(tmp_path, "data.batch_size=1", "seed=1", "hydra.launcher.executor.address=auto"))
        said, _ = driver.communicate(timeout=120)
    assert driver.returncode == 2
    assert "refused: no Ray cluster takes this process at hydra.launcher.executor.address=auto" in said
