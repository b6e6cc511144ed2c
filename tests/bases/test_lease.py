import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dark_halo_scope.bases.holder import Holder
from dark_halo_scope.bases.lease import Beat, _create, take

KEY = "a" * 64
PATIENT = Beat(every_s=0.05, dead_after_s=600.0)
QUICK = Beat(every_s=0.05, dead_after_s=0.6)
HOLD = """
import os, sys, time
from pathlib import Path
from dark_halo_scope.bases.lease import Beat, _create, take
with take(Path(sys.argv[1]), "a" * 64, Beat(0.05, 600.0), lambda: False) as lease:
    (lease.workspace / "half").write_text("half")
    if "fork" in sys.argv and os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "building"


@pytest.fixture
def another(folder):
    """A real process that holds the lease."""
    process = hold(folder)
    yield process
    end(process)


def hold(folder, *how):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *how], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def takes_within(folder, seconds, beat=PATIENT):
    """Whether the lease is given to this process in time, and if so what the folder holds then."""
    ended = threading.Event()
    timer = threading.Timer(seconds, ended.set)
    timer.start()
    lease = take(folder, KEY, beat, ended.is_set)
    timer.cancel()
    if lease is None:
        return None
    with lease:
        return sorted(path.name.removeprefix(f"{KEY}.") for path in folder.iterdir())


def forge(folder, **changes):
    """A lease as another machine would have left it; the file that shows its holder's life."""
    (folder / f"{KEY}.1" / "work").mkdir(parents=True)
    path = folder / f"{KEY}.1" / "holder.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "since": 0.0, "boot_id": "x", "locked": True} | changes))
    return path


def test_a_lease_is_given_back_with_all_it_left(folder):
    with take(folder, KEY, PATIENT, lambda: False) as lease:
        (lease.workspace / "file").write_text("x")
        assert takes_within(folder, 0.2) is None
        with take(folder, "b" * 64, PATIENT, lambda: False):
            pass
    assert list(folder.iterdir()) == []
    assert takes_within(folder, 5.0) == ["1"]


def test_who_waits_ends_when_another_has_made_it(folder, another):
    looks = iter([False, False, True])
    assert take(folder, KEY, PATIENT, lambda: next(looks)) is None


def test_a_killed_holder_is_followed_at_once_and_its_half_removed(folder, another):
    assert takes_within(folder, 0.3) is None
    another.kill()
    another.wait()
    assert takes_within(folder, 30.0) == ["2"]
    assert list(folder.iterdir()) == []


def test_a_holder_that_works_for_long_is_not_followed(folder):
    with take(folder, KEY, QUICK, lambda: False):
        assert takes_within(folder, 3 * QUICK.dead_after_s, QUICK) is None


def test_a_stopped_holder_is_followed_after_its_silence_and_may_come_back(folder, another):
    os.kill(another.pid, signal.SIGSTOP)
    begun = time.monotonic()
    assert takes_within(folder, 30.0, QUICK) == ["1", "2"]
    assert time.monotonic() - begun > QUICK.dead_after_s
    assert (folder / f"{KEY}.1" / "work" / "half").exists(), "it may go on building there"
    os.kill(another.pid, signal.SIGCONT)
    assert takes_within(folder, 0.2) is None, "it holds the key again, since nobody else does"


def test_a_lock_that_outlives_its_holder_does_not_hold_for_ever(folder):
    parent = hold(folder, "fork")
    try:
        parent.kill()
        parent.wait()
        assert takes_within(folder, 0.3) is None
        assert takes_within(folder, 30.0, QUICK) is not None
    finally:
        end(parent)


def test_a_holder_elsewhere_is_waited_for_as_long_as_it_beats(folder):
    path = forge(folder)
    ended = threading.Event()

    def show_life():
        while not ended.wait(0.05):
            os.utime(path)

    beating = threading.Thread(target=show_life)
    beating.start()
    beat = Beat(every_s=0.05, dead_after_s=0.8)
    assert takes_within(folder, 1.2, beat) is None, "though its lock is free here"
    ended.set()
    beating.join()
    begun = time.monotonic()
    assert takes_within(folder, 30.0, beat) == ["1", "2"]
    assert time.monotonic() - begun > beat.dead_after_s


def test_clocks_of_two_machines_are_not_compared(folder):
    path = forge(folder)
    os.utime(path, (0, 0))
    assert takes_within(folder, 0.1, QUICK) is None
    os.utime(path, (2**33, 2**33))
    assert takes_within(folder, 30.0, QUICK) is not None


@pytest.mark.parametrize("content", ["", '{"host": "else'])
def test_a_lease_that_does_not_say_whose_it_is_is_judged_by_its_time(folder, content):
    forge(folder).write_text(content)
    assert takes_within(folder, 0.1, QUICK) is None
    assert takes_within(folder, 30.0, QUICK) is not None


def test_where_the_disk_knows_no_locks_time_alone_decides(folder):
    with open("/proc/sys/kernel/random/boot_id") as file:
        forge(folder, boot_id=file.read().strip(), locked=False)
    assert takes_within(folder, 0.1, QUICK) is None
    assert takes_within(folder, 30.0, QUICK) is not None


def test_of_many_that_find_it_dead_one_follows_at_a_time(folder, another):
    another.kill()
    another.wait()
    holding, most, followed = [], [], []

    def follow():
        with take(folder, KEY, PATIENT, lambda: False) as lease:
            holding.append(lease)
            most.append(len(holding))
            time.sleep(0.02)
            followed.append(holding.remove(lease))

    threads = [threading.Thread(target=follow) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(followed) == 5
    assert set(most) == {1}
    assert list(folder.iterdir()) == []


def test_a_lease_says_who_holds_it(folder):
    with take(folder, KEY, PATIENT, lambda: False), io.FileIO(folder / f"{KEY}.1" / "holder.json") as file:
        holder = Holder.read(file)
    assert (holder.pid, holder.locked) == (os.getpid(), True)
    assert str(holder) == f"process {os.getpid()} on {os.uname().nodename}"


def test_one_that_was_taken_for_dead_gives_back_its_own_only(folder):
    slow = take(folder, KEY, PATIENT, lambda: False)  # not entered: it does not show life
    with take(folder, KEY, QUICK, lambda: False):
        with slow:
            pass
        assert [path.name for path in folder.iterdir()] == [f"{KEY}.2"]


def test_one_that_was_given_back_while_it_was_looked_at_is_not_mistaken_for_a_dead_ones(folder, monkeypatch):
    """Its number is another's by then, who must not lose the workspace."""
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(take(folder, KEY, PATIENT, lambda: False))
        read, held = Holder.read, []

        def read_slowly(file):
            holder = read(file)
            if not held:
                first.close()
                held.append(second.enter_context(_create(folder, KEY, 1, PATIENT, lambda: True)))
            return holder

        monkeypatch.setattr(Holder, "read", read_slowly)
        assert takes_within(folder, 0.2) is None
        assert held[0].workspace.exists()


def test_a_slow_follower_gives_way_and_leaves_the_others_workspace(folder, another, monkeypatch):
    """Before it takes its turn, a quicker one has had its own, and the dead one's number is another's."""
    another.kill()
    another.wait()
    is_dead, held = Holder.is_dead, []

    with contextlib.ExitStack() as living:

        def is_dead_slowly(holder, lease, file):
            verdict = is_dead(holder, lease, file)
            if not held:
                held.append(None)
                with take(folder, KEY, PATIENT, lambda: False):
                    pass
                held.append(living.enter_context(_create(folder, KEY, 1, PATIENT, lambda: True)))
            return verdict

        monkeypatch.setattr(Holder, "is_dead", is_dead_slowly)
        assert takes_within(folder, 0.2) is None
        assert held[1].workspace.exists()
        assert len(list(folder.iterdir())) == 1


def test_one_who_saw_no_lease_gives_way_to_a_later_number(folder, monkeypatch):
    """Between its look and its turn another has taken number 1 and died, and a third has followed."""
    sign, held = Holder.sign, []

    with contextlib.ExitStack() as living:

        def sign_slowly(lease):
            if not held:
                held.append(None)
                (folder / f"{KEY}.1").mkdir()
                held.append(living.enter_context(_create(folder, KEY, 2, PATIENT, lambda: True)))
                (folder / f"{KEY}.1").rmdir()
            return sign(lease)

        monkeypatch.setattr(Holder, "sign", sign_slowly)
        assert takes_within(folder, 0.2) is None
        assert held[1].workspace.exists()


@pytest.mark.parametrize("left", [[], [".nfs0000000000000001"]])
def test_a_folder_that_a_file_server_could_not_remove_is_nobodys(folder, left):
    (folder / f"{KEY}.1").mkdir(parents=True)
    for name in left:
        (folder / f"{KEY}.1" / name).touch()
    assert takes_within(folder, 30.0) == ["1", "2"]
