import threading
import time

import pytest

from dark_halo_scope.jobs import in_turn


@pytest.mark.parametrize("at_a_time", [1, 3])
def test_jobs_in_turn_hold_no_more_room_than_was_said(at_a_time):
    lock, held, most = threading.Lock(), set(), []

    def work(job):
        with lock:
            held.add(job)
            most.append(len(held))
        time.sleep(0.02 if job % 3 == 0 else 0)  # the first of three is the last to be finished

    given = []
    for job in in_turn(work, iter(range(11)), at_a_time):
        given.append(job)
        with lock:
            held.remove(job)
    assert given == list(range(11))
    assert max(most) <= at_a_time


def test_the_first_error_ends_jobs_in_turn():
    begun = []

    def work(job):
        begun.append(job)
        if job == 4:
            raise ValueError("no more")

    given = []
    with pytest.raises(ValueError, match="no more"):
        given.extend(in_turn(work, range(100), 3))
    assert given == [0, 1, 2, 3]
    assert max(begun) <= 6
