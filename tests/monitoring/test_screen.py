import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from dark_halo_scope.monitoring.rules import examine
from dark_halo_scope.monitoring.screen import runs_screen
from tests.monitoring.states import healthy


def shown(width, *runs, most=None):
    console = Console(width=width, file=io.StringIO())
    console.print(runs_screen([examine(run) for run in runs], most))
    return console.file.getvalue()


def finished(name):
    return replace(healthy(), folder=Path("logs/lens") / name, outcome="complete")


def test_a_wide_terminal_shows_a_line_a_run_under_one_heading():
    lines = shown(120, healthy()).splitlines()
    assert " ".join(lines[1].split()) == "run state epoch step left metric latest best patience waits GPU"
    assert "running training  8/30" in lines[3]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_breaks_no_number_and_loses_none(width):
    words = shown(width, healthy(wait_fraction=0.6)).split()
    for word in ("running", "8/30,", "8000/30000,", "val/auroc", "1:24:20,", "60%,", "loader-bound:"):
        assert word in words


def test_a_column_in_which_no_run_has_anything_to_say_is_left_out():
    cpu = replace(healthy(gpu_memory_gib=None, gpu_total_gib=None, patience=None), outcome="complete")
    assert " ".join(shown(120, cpu).splitlines()[1].split()) == "run state epoch step metric latest best waits"


def test_where_there_are_more_runs_than_lines_the_old_and_quiet_ones_go():
    ill = replace(healthy(wait_fraction=0.6), folder=Path("logs/lens/ill"))
    runs = [*(finished(f"old-{k}") for k in range(40)), ill, finished("new")]
    text = shown(120, *runs, most=10)
    assert "32 finished runs with nothing wrong are not shown" in text
    assert "old-31" not in text
    assert all(f" {name} " in text for name in ("old-32", "ill", "new"))
    assert "old-0 " in shown(120, *runs)
