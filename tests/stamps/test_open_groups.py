import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from dark_halo_scope.stamps.open_groups import OpenGroups


def test_threads_that_want_the_same_groups_open_each_once():
    opened = Counter()

    def open_group(group):
        opened[group] += 1
        return str(group)

    groups = OpenGroups(50, open_group)
    wanted = [random.Random(k).sample(range(50), 20) for k in range(100)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(groups.get, wanted)) == [[str(group) for group in some] for some in wanted]
    assert set(opened.values()) == {1}


def test_more_groups_than_are_kept_are_given_and_the_last_used_stay():
    opened = []
    groups = OpenGroups(2, lambda group: opened.append(group) or -group)
    assert groups.get([1, 2, 3]) == [-1, -2, -3]
    assert groups.get([3, 2, 1]) == [-3, -2, -1]
    assert opened == [1, 2, 3, 1]


def test_after_a_failure_no_other_group_is_tried_and_nobody_waits_for_one():
    tried = []
    begun, others_wait = threading.Event(), threading.Event()

    def open_group(group):
        tried.append(group)
        begun.set()
        others_wait.wait(10)
        raise OSError(f"group {group} is out of reach")

    groups = OpenGroups(8, open_group)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(groups.get, [1, 2, 3])
        begun.wait(10)
        second = pool.submit(groups.get, [3])
        others_wait.set()
        for waiting in (first, second):
            with pytest.raises(OSError, match="group 1 is out of reach"):
                waiting.result(10)
    assert tried == [1]
