"""What a store holds, on a terminal."""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from dark_halo_scope.bases.collect import DAY_S, Collection

SHORT = 12  # digits of a key
_DASH = "\N{EN DASH}"


def listing_table(records: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Base models, one a row, and their sum."""
    table = _table("base model", "groups", "network", "metric", "size", "used", "")
    for record in records:
        cells = _cells(record) if record["state"] == "stored" else [_DASH] * 4
        used = _ago(record["used_at"]) if "used_at" in record else _DASH
        table.add_row(record["key"][:SHORT], *map(Text, cells), used, _remark(record))
    n_stored = sum(record["state"] == "stored" for record in records)
    size = sum(record.get("n_bytes", 0) for record in records)
    return Group(table, Text(f"{n_stored} base models, {decimal(size)}"))


def facts_table(record: Mapping[str, Any]) -> Table:
    """All that is known of one base model, leaf by leaf; hashes of its files are left to scripts."""
    facts = {name: record[name] for name in ("key", "folder", "metrics", "spec", "started", "origin")}
    facts |= {
        "took": str(timedelta(seconds=round(record["seconds"]))),
        "last used": _ago(record["used_at"]),
        "files": [f"{name} ({decimal(entry['bytes'])})" for name, entry in record["files"].items()],
        "pin": record["pinned"] or "none",
    }
    table = _table("of the base model", "")
    table.columns[1].overflow = "fold"
    for name, value in _leaves(facts):
        table.add_row(Text(name), Text(_told(value)))
    return table


def difference_table(records: Sequence[Mapping[str, Any]], a: str, b: str) -> Table:
    """What differs between two base models."""
    table = _table("differs", a[:SHORT], b[:SHORT])
    for record in records:
        sides = [_told(record[side]) if side in record else _DASH for side in ("a", "b")]
        table.add_row(Text(record["path"]), *map(Text, sides))
    return table


def collection_table(found: Collection, removed: bool) -> RenderableType:
    """What goes and why, and what keeps the rest."""
    parts: list[RenderableType] = []
    if found.entries:
        table = _table("base model", "size", "used", "")
        for entry in sorted(found.entries, key=lambda entry: (not entry.goes, entry.used_at)):
            why = Text(f"goes: {entry.goes}", "yellow") if entry.goes else Text(_kept(entry.kept_by))
            table.add_row(entry.key[:SHORT], decimal(entry.n_bytes), _ago(entry.used_at), why)
        parts.append(table)
    if found.litter:
        table = _table("litter", "size", "")
        for item in found.litter:
            table.add_row(Text(item.path.name), decimal(item.n_bytes), Text(item.why))
        parts.append(table)
    did = "removed" if removed else "would go"
    parts.append(
        Text(
            f"{len(found.going)} of {len(found.entries)} base models and {len(found.litter)} left-overs {did}: "
            f"{decimal(found.freed_bytes)}; base models of {decimal(found.left_bytes)} stay"
        )
    )
    if not removed and (found.going or found.litter):
        parts.append(Text("nothing was removed: --remove does it", "bold"))
    return Group(*parts)


def _cells(record: Mapping[str, Any]) -> list[str]:
    spec, metrics = record["spec"], record["metrics"]
    watched = (spec.get("early_stop") or {}).get("metric")
    numbers = [name for name, value in metrics.items() if isinstance(value, int | float)]
    metric = watched if watched in numbers else next(iter(numbers), None)
    return [
        str(len(spec.get("groups", []))),
        str(spec.get("model", {}).get("_target_", _DASH)).rpartition(".")[2],
        _DASH if metric is None else f"{metric.removeprefix('val/')} {_number(metrics[metric])}",
        decimal(record["n_bytes"]),
    ]


def _remark(record: Mapping[str, Any]) -> Text:
    if record["state"] == "damaged":
        return Text("damaged", "bold red")
    if record["state"] == "in the making":
        return Text(f"being made by {record['holder']}", "cyan")
    return Text("pinned" if record["pinned"] else "")


def _kept(by: Sequence[str]) -> str:
    if not by:
        return "stays"
    return f"stays: {by[0]}" + (f", and {len(by) - 1} more" if len(by) > 1 else "")


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=number == 0)
    return table


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        inner = [(f"{path}.{key}" if path else str(key), child) for key, child in value.items()]
        return [leaf for name, child in inner for leaf in _leaves(child, name)]
    return [(path, value)]


def _told(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _ago(at: float) -> str:
    seconds = max(0.0, time.time() - at)
    if seconds < 5400:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.0f} d ago"
