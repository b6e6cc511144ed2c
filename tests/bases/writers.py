"""Processes that fill one store together, for tests that kill them.

They are forked from a server that has imported this module, so that starting one costs milliseconds.
"""

import fcntl
import multiprocessing
import os
import random
import time
from pathlib import Path

from dark_halo_scope.bases import origin
from dark_halo_scope.bases.lease import Beat
from dark_halo_scope.bases.store import BaseStore
from tests.bases.specs import base_spec

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])
N_KEYS = 10
BEAT = Beat(every_s=0.5, dead_after_s=60.0)  # no silence is longer: all takeovers are by proof of death

origin.origin(), origin.code_diff()  # asked of git once, for all that are forked


def specs():
    return [base_spec(seed=seed) for seed in range(N_KEYS)]


def fill(root: Path, journal: Path, seed: int) -> None:
    """Build every key, in an order of one's own."""
    store, order = BaseStore(root, beat=BEAT), specs()
    random.Random(seed).shuffle(order)
    for spec in order:
        base = store.build(spec, lambda spec, folder: train(spec, folder, root, journal))
        assert (base.folder / "weights.pt").read_bytes() == content(spec)


def train(spec, folder: Path, root: Path, journal: Path):
    """Write slowly, and into the journal whether the key was stored already or somebody else trains it now."""
    with (journal.parent / spec.key()).open("w") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        note(journal, f"{spec.key()} {'stored' if (root / spec.key()).exists() else 'missing'} {alone}")
        with (folder / "weights.pt").open("wb") as file:
            for start in range(0, len(content(spec)), 1000):
                file.write(content(spec)[start : start + 1000])
                file.flush()
                time.sleep(0.01 + 0.05 * (spec.seed % 2))
        (folder / "history").mkdir()
        (folder / "history" / "metrics.csv").write_text("epoch,loss\n")
    return {"val/loss": 0.25}


def content(spec) -> bytes:
    return spec.key().encode() * 100


def note(journal: Path, line: str) -> None:
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)
