"""A plan on a terminal."""

from collections import Counter
from typing import Any

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from dark_halo_scope.bases.plan import PLAN, Plan
from dark_halo_scope.bases.work import command_of

_N_SHOWN = 20
_ORDER = ("missing", "to train", "remote", "stored", "not needed")
_STYLES = {"missing": "yellow", "to train": "bold", "stored": "green", "remote": "green", "not needed": "dim"}


def show_plan(plan: Plan, console: Console) -> None:
    """Print it: counts, base models, and what was refused."""
    console.print(_totals(plan))
    if plan.bases:
        console.print(_bases(plan))
    _print_refusals(plan, console)


def _totals(plan: Plan) -> Table:
    n = plan.counts()
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column()
    shown.add_column(justify="right")
    shown.add_column(style="dim")
    repeats = n["command_lines"] - n["not_come_to"] - n["jobs"] - n["refused"]
    rows = [
        ("jobs", n["jobs"], f"{repeats:,} more command lines ask for one of them" if repeats else ""),
        ("  in the store", n["hits"], ""),
        ("  to run", n["to_run"], f"{n['without_base']:,} of all jobs need no base model" if n["without_base"] else ""),
        ("  blocked", n["blocked"], "their base model is missing and may not be trained" if n["blocked"] else ""),
        ("refused", n["refused"], "no job can be made of the command line" if n["refused"] else ""),
        ("base models", n["bases"], ""),
        ("  in the store", n["bases_stored"], ""),
        ("  to train", n["bases_to_train"], ""),
        ("trainings saved", n["trainings_saved"], "against a base model for each job"),
    ]
    for name, number, remark in rows:
        shown.add_row(name, f"{number:,}", remark)
    takes = plan.takes()
    shown.add_row("time", _time(takes), _without(takes["unknown"]))
    shown.add_row("disk", _disk(takes))
    return shown


def _time(takes: dict[str, Any]) -> str:
    if takes["hours"] is None:
        return "unknown" if any(takes["unknown"].values()) else "none"
    on_gpu = takes["devices"] != ["CPU"]
    device = ", ".join(takes["devices"])
    seconds = 3600 * takes["hours"]
    told = (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:,.1f} h"
    )
    return f"about {told} of {f'a GPU ({device})' if on_gpu else 'a CPU'}"


def _without(unknown: dict[str, int]) -> str:
    named = {"bases": "base models", "jobs": "jobs"}
    told = [f"{n:,} {named[what]}" for what, n in unknown.items() if n]
    return f"without {' and '.join(told)}: nothing like them is in the store" if told else ""


def _disk(takes: dict[str, Any]) -> str:
    if takes["bytes"] is None:
        return "unknown" if any(takes["unknown"].values()) else "none"
    return f"about {decimal(takes['bytes'])}"


def _bases(plan: Plan) -> Table:
    """The base models, those first that hold most jobs up."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("base model", no_wrap=True)
    shown.add_column("state", no_wrap=True)
    for column in ("groups", "jobs", "to run", "hours"):
        shown.add_column(column, justify="right", no_wrap=True)
    ordered = sorted(plan.bases.items(), key=lambda item: (_ORDER.index(item[1].state), -item[1].n_open))
    for key, base in ordered[:_N_SHOWN]:
        groups = "" if base.n_groups is None else f"{base.n_groups:,}"
        hours = f"{base.cost.hours:.2f}" if base.cost and base.state == "to train" else ""
        numbers = (f"{base.n_jobs:,}", f"{base.n_open:,}")
        shown.add_row(key[:12], base.state, groups, *numbers, hours, style=_STYLES[base.state])
    if len(ordered) > _N_SHOWN:
        shown.caption = f"and {len(ordered) - _N_SHOWN:,} more in {PLAN}"
    return shown


def _print_refusals(plan: Plan, console: Console) -> None:
    """Each reason once, with how often it was given and the first command line it was given to."""
    reasons = Counter(refusal.error for refusal in plan.refused)
    first = {refusal.error: refusal.overrides for refusal in reversed(plan.refused)}
    for error, n in reasons.most_common(_N_SHOWN):
        console.print(Text(f"refused {n:,} x: {error}", style="red"), soft_wrap=True)
        console.print(Text(f"  {command_of(first[error])}", style="dim"), soft_wrap=True)
