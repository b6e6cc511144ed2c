"""Run as a program in a folder: writes a checkpoint that fits the disk, then one that does not, and prints the error.

A limit on the size of files stands for the disk: like a full disk it makes the kernel refuse the write half-way, and
unlike one it needs no rights.
"""

import resource
import sys
from pathlib import Path

import torch

from dark_halo_scope.callbacks.checkpoint import DurableCheckpointIO
from dark_halo_scope.files import WriteError


def main(folder: Path) -> None:
    writer = DurableCheckpointIO()
    writer.save_checkpoint({"first": torch.zeros(1000)}, folder / "last.ckpt")
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    try:
        writer.save_checkpoint({"second": torch.zeros(2**20)}, folder / "last.ckpt")
    except WriteError as error:
        sys.stdout.write(f"{error}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
