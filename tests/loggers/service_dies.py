"""Run as a program: W&B's background process is killed in the middle of a run; then another run follows."""

import os
import signal
import sys
import time
from pathlib import Path

from dark_halo_scope.loggers.wandb import finish_wandb, wandb_logger


def main(folder: Path) -> None:
    logger = wandb_logger(str(folder / "first"), "project")
    os.kill(background_process(), signal.SIGKILL)
    time.sleep(0.5)
    for step in range(3):
        logger.log_metrics({"val/auroc": 0.5}, step=step)
    logger.log_hyperparams({"lr": 1e-3})
    finish_wandb()
    sys.stdout.write("still here\n")
    wandb_logger(str(folder / "second"), "project")
    finish_wandb()
    (offline,) = (folder / "second" / "wandb").glob("offline-run-*")
    sys.stdout.write(f"next run: {offline.name.partition('-')[0]}\n")


def background_process() -> int:
    """Process id of the child called wandb-core, from Linux's process table."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        pid, name, rest = path.read_text().replace("(", ")").split(")")
        if name == "wandb-core" and int(rest.split()[1]) == os.getpid():
            return int(pid)
    raise RuntimeError("W&B runs no background process of this name any more")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
