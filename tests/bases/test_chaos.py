"""Eight processes fill one store while they are killed at random: nothing is lost, spoilt or trained twice."""

import os
import random
import time
from collections import Counter

import pytest

from dark_halo_scope.bases.collect import Limits, collect
from dark_halo_scope.bases.store import BaseStore
from tests.bases import writers

N_WRITERS = 8
N_KILLS = 30


@pytest.fixture(scope="module")
def chaos(tmp_path_factory):
    """The store and the journal of its trainings, after the kills and after a last run in peace."""
    folder = tmp_path_factory.mktemp("chaos")
    root, journal, dice = folder / "bases", folder / "journal.txt", random.Random(20261)

    def start(seed):
        process = writers.CONTEXT.Process(target=writers.fill, args=(root, journal, seed), daemon=True)
        process.start()
        return process

    alive = [start(seed) for seed in range(N_WRITERS)]
    for number in range(N_KILLS):
        time.sleep(dice.uniform(0, 0.06))
        victim = dice.randrange(N_WRITERS)
        alive[victim].kill()
        alive[victim].join()
        alive[victim] = start(100 + number)
    for process in alive:
        process.join(120)
    return BaseStore(root), journal, [process.exitcode for process in alive]


def test_all_who_lived_have_finished(chaos):
    assert chaos[2] == [0] * N_WRITERS


def test_every_key_is_there_and_whole(chaos):
    store = chaos[0]
    assert store.keys() == sorted(spec.key() for spec in writers.specs())
    assert list(map(store.check, store.keys())) == [""] * writers.N_KEYS
    assert not (store.root / "corrupt").exists()


def test_none_was_trained_after_it_was_stored_nor_by_two_at_a_time(chaos):
    lines = [line.split() for line in chaos[1].read_text().splitlines()]
    assert Counter(state for _, state, _ in lines) == {"missing": len(lines)}
    assert Counter(alone for _, _, alone in lines) == {"True": len(lines)}
    assert writers.N_KEYS <= len(lines) <= writers.N_KEYS + N_KILLS, "only a kill makes a training begin again"


def test_nothing_half_written_is_left_once_it_is_collected(chaos):
    store = chaos[0]
    building = store.root / "building"
    collect(store, [], Limits(), remove=True)
    unsigned = list(building.iterdir())  # by a process that was killed before it wrote its name: for a day it may live
    assert all(".new-" in path.name for path in unsigned)
    for path in (found for folder in unsigned for found in (folder, *folder.rglob("*"))):
        os.utime(path, (0, 0))
    collect(store, [], Limits(), remove=True)
    assert list(building.iterdir()) == []
    assert len(store.keys()) == writers.N_KEYS


def test_the_same_command_again_trains_nothing(chaos):
    store, journal, _ = chaos
    before = journal.read_text()
    writers.fill(store.root, journal, seed=1)
    assert journal.read_text() == before
