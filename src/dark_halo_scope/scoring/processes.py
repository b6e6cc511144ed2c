"""Several processes that score side by side, and end with the one that started them."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue

import torch

from dark_halo_scope.scoring.job import ScoringError, ScoringJob
from dark_halo_scope.scoring.parts import Parts
from dark_halo_scope.scoring.worker import Share, score_parts

_LOOK_EVERY_S = 0.2

_counts: "SimpleQueue[int]"  # of stamps scored, to the first process


def score_in_processes(job: ScoringJob, parts: Parts, shares: list[Share], advance: Callable[[int], None]) -> None:
    """Let each process make the parts of one share.

    Raises:
        ScoringError: When one of them is killed.
    """
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    counts: SimpleQueue[int] = context.SimpleQueue()
    threads = max(1, torch.get_num_threads() // len(shares))
    with ProcessPoolExecutor(len(shares), context, initializer=_begin, initargs=(counts, threads)) as pool:
        futures = [pool.submit(_score_share, job, parts, share) for share in shares]
        running = set(futures)
        while running:
            running = wait(running, _LOOK_EVERY_S).not_done
            while not counts.empty():
                advance(counts.get())
        try:
            for future in futures:
                future.result()
        except BrokenProcessPool as error:
            raise ScoringError(
                "a scoring process was killed (out of memory?); finished parts are kept: give the command again"
            ) from error


def _begin(counts: "SimpleQueue[int]", threads: int) -> None:
    global _counts
    _counts = counts
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A first process that is killed cannot stop the others; they would go on for hours beside its successor."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _score_share(job: ScoringJob, parts: Parts, share: Share) -> None:
    score_parts(job, parts, share, _counts.put)
