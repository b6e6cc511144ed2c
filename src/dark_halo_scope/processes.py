"""A job in processes of its own: the ranks of DDP, a trial that shares nothing with the next one.

A child runs the ordinary `train.py` on a config that is already composed, in the folder that is already chosen. It dies
with its parent, however that one dies.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from dark_halo_scope.configuration import REPOSITORY

LIFELINE = "HALO_LIFELINE"  # set for a child: its standard input ends when its parent does
PATIENCE_S = 30.0  # how long rank 0 may take to notice by itself that another rank failed

log = logging.getLogger(__name__)


def job_command(config: Path, folder: Path, *overrides: str) -> list[str]:
    """The command that runs the composed `config` in `folder`."""
    hydra = [f"hydra.run.dir='{folder}'", "hydra.output_subdir=null"]
    where = [f"--config-path={config.parent.resolve()}", f"--config-name={config.stem}"]
    return [sys.executable, str(REPOSITORY / "train.py"), *where, *hydra, *overrides]


def start(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    output: IO[bytes] | None = None,
    own_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a child that dies with this process.

    Args:
        command: what to run.
        environment: variables beyond those of this process.
        output: where all that it prints goes; None: where this process prints.
        own_session: whether Ctrl-C in the terminal does not reach it.
    """
    return subprocess.Popen(
        list(command),
        env={**os.environ, **(environment or {}), LIFELINE: "1"},
        stdin=subprocess.PIPE,  # its end is the end of this process
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=own_session,
    )


def hold_lifeline() -> None:
    """In a child: watch for the parent's end from now on."""
    if os.environ.pop(LIFELINE, None):
        threading.Thread(target=_die_at_the_end_of_input, daemon=True, name="lifeline").start()


def _die_at_the_end_of_input() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def ranks(n: int, config: Path, folder: Path) -> Iterator[None]:
    """Start ranks 1 to n - 1 of a job whose rank 0 is this process, and see to their end.

    Lightning's own way repeats the command line, with which every rank of a sweep would run the whole sweep; Lightning
    takes ranks that are there already as they are. Does nothing for one rank, or where something else starts the ranks.
    """
    if n == 1 or _started_from_outside():
        yield
        return
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0", "WORLD_SIZE": str(n)}
    before = {name: os.environ.get(name) for name in (*group, "LOCAL_RANK")}
    command = job_command(config, folder)
    children = [start([*command, f"hydra.job.name=rank{k}"], {**group, "LOCAL_RANK": str(k)}) for k in range(1, n)]
    os.environ.update(group, LOCAL_RANK="0")
    left = threading.Event()
    threading.Thread(target=_watch, args=(children, left), daemon=True, name="ranks").start()
    finished = False
    try:
        yield
        finished = True
    finally:
        left.set()
        _end(children, wait_s=PATIENCE_S if finished else 0)
        _leave_group()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _started_from_outside() -> bool:
    from lightning.fabric.plugins.environments import (
        LSFEnvironment,
        MPIEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

    starters = (LSFEnvironment, MPIEnvironment, SLURMEnvironment, TorchElasticEnvironment)
    return "LOCAL_RANK" in os.environ or any(starter.detect() for starter in starters)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _watch(children: Sequence[subprocess.Popen[bytes]], left: threading.Event) -> None:
    """A failed rank leaves rank 0 in a collective, from which on a GPU only the end of the process frees it."""
    while not left.wait(1.0):
        failed = [child for child in children if child.poll() not in (None, 0)]
        if failed and not left.wait(PATIENCE_S):
            log.critical(
                "a rank ended with exit code %d and rank 0 waits for it: the job is killed", failed[0].returncode
            )
            os.kill(os.getpid(), signal.SIGKILL)


def _end(children: Sequence[subprocess.Popen[bytes]], wait_s: float) -> None:
    for child in children:
        try:
            child.wait(wait_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert child.stdin is not None
        child.stdin.close()


def _leave_group() -> None:
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
