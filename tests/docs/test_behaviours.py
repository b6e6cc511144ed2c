import pytest
from docs.behaviours import ALL, RUNS, Late, LateStamps
from hydra.utils import get_class

from tests.runs import composed


@pytest.mark.parametrize("name", RUNS)
def test_the_runs_behind_the_picture_are_ones_that_train_py_takes(name):
    cfg = composed(*ALL, *RUNS[name])
    assert issubclass(get_class(cfg.data._target_), LateStamps if name == "waiting" else LateStamps.__base__)


def test_late_batches_are_the_usual_ones():
    usual = range(3)
    assert (list(Late(usual)), len(Late(usual)), Late(usual).stop) == ([0, 1, 2], 3, 3)
