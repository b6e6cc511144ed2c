"""`halo bases`: the store of base models, looked at and kept in order."""

import json
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dark_halo_scope.configuration import CONFIGS, ConfigError, register_resolvers

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dark_halo_scope.bases.store import BaseStore

PIPE_WIDTH = 160  # characters, where there is no terminal to ask
EXIT_FOUND = 1  # a difference, or a damage


def add(commands: _SubParsersAction) -> None:
    """Declare the command and what it can be asked."""
    parser = commands.add_parser(
        "bases",
        help="base models: list, inspect, verify, pin, collect and export them; report of a sweep",
        usage="halo bases WHAT ... [--store FOLDER]",
        description="Base models are trained once and kept under the hash of all that determines their weights. KEY: "
        "the first digits of such a hash.",
        epilog="example: halo bases ls; halo bases why 3f2a 91c0; halo bases gc --unused-days 14 --remove",
    )
    asked = parser.add_subparsers(title="what", required=True, metavar="WHAT", prog="halo bases")
    _add(asked, "ls", list_bases, "all base models, and what is in the making", plain=True)
    _add(
        asked,
        "show",
        show,
        "one base model: what determines it, where it comes from, how good it is",
        "KEY",
        plain=True,
    )
    _add(asked, "why", why, "what two base models differ in; exit code 1 if in anything", "A", "B", plain=True)
    verify_parser = _add(asked, "verify", verify, "read all bytes; exit code 1 if any is damaged", plain=True)
    verify_parser.add_argument("keys", nargs="*", metavar="KEY", help="(default: all)")
    pin_parser = _add(asked, "pin", pin, "never collect a base model", "KEY")
    pin_parser.add_argument("--why", required=True, help="for those who wonder later")
    _add(asked, "unpin", unpin, "let it be collected again", "KEY")
    _add_gc(asked)
    export_parser = _add(asked, "export", export, "copy base models to another store, a folder or a bucket")
    export_parser.add_argument("keys", nargs="+", metavar="KEY")
    export_parser.add_argument("--to", required=True, metavar="STORE", help="folder, or URI such as s3://bucket/bases")
    report_parser = _add(asked, "report", report, "page of a sweep of fine-tunings: who gains by which mode", "SWEEP")
    report_parser.add_argument("--out", type=Path, metavar="FOLDER", help="(default: that of the sweep)")
    report_parser.add_argument(
        "--metric", help="on the targets' test parts (default: macro F1, else AUROC, else accuracy)"
    )


def list_bases(arguments: Namespace, overrides: list[str]) -> None:
    """Print all base models."""
    from dark_halo_scope.bases.listing import listed
    from dark_halo_scope.bases.tables import listing_table

    records = listed(_store(arguments, overrides))
    _print(arguments, records, lambda: listing_table(records))


def show(arguments: Namespace, overrides: list[str]) -> None:
    """Print one base model."""
    from dark_halo_scope.bases.listing import shown
    from dark_halo_scope.bases.tables import facts_table

    store = _store(arguments, overrides)
    record = shown(store, store.find(arguments.key))
    _print(arguments, record, lambda: facts_table(record))


def why(arguments: Namespace, overrides: list[str]) -> None:
    """Print what two base models differ in."""
    from dark_halo_scope.bases.canonical import differences
    from dark_halo_scope.bases.listing import differing, spec_of
    from dark_halo_scope.bases.tables import difference_table

    store = _store(arguments, overrides)
    a, b = store.find(arguments.a), store.find(arguments.b)
    records = differing(differences(spec_of(store, a), spec_of(store, b)))
    _print(arguments, records, lambda: difference_table(records, a, b))
    if records:
        raise SystemExit(EXIT_FOUND)


def verify(arguments: Namespace, overrides: list[str]) -> None:
    """Read all bytes of some base models, or of all; move nothing."""
    from rich.progress import track

    store = _store(arguments, overrides)
    keys = [store.find(key) for key in arguments.keys] or store.keys()
    faults = {key: store.check(key) for key in track(keys, "verifying", disable=not sys.stderr.isatty())}
    damaged = {key: fault for key, fault in faults.items() if fault}
    if arguments.json:
        sys.stdout.write(json.dumps(faults, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{key}: {fault}\n" for key, fault in damaged.items())
        remedy = "; a run that needs one moves it to corrupt/ and trains it again" if damaged else ""
        sys.stdout.write(f"{len(keys)} base models verified, {len(damaged)} damaged{remedy}\n")
    if damaged:
        raise SystemExit(EXIT_FOUND)


def pin(arguments: Namespace, overrides: list[str]) -> None:
    """Pin a base model."""
    from dark_halo_scope.bases import roots

    store = _store(arguments, overrides)
    key = store.find(arguments.key)
    roots.pin(store, key, arguments.why)
    sys.stdout.write(f"{key} is never collected\n")


def unpin(arguments: Namespace, overrides: list[str]) -> None:
    """Unpin a base model."""
    from dark_halo_scope.bases import roots

    store = _store(arguments, overrides)
    key = store.find(arguments.key)
    roots.unpin(store, key)
    sys.stdout.write(f"{key} is collected when nothing stands on it and nobody uses it\n")


def gc(arguments: Namespace, overrides: list[str]) -> None:
    """Print what may go; with ``--remove``, let it go."""
    from dark_halo_scope.bases.collect import Limits, collect
    from dark_halo_scope.bases.listing import collected
    from dark_halo_scope.bases.tables import collection_table

    limits = Limits(arguments.unused_days, arguments.max_gb)
    found = collect(_store(arguments, overrides), arguments.roots, limits, remove=arguments.remove)
    _print(arguments, collected(found), lambda: collection_table(found, arguments.remove))


def export(arguments: Namespace, overrides: list[str]) -> None:
    """Copy base models, each verified, to another store."""
    from dark_halo_scope.bases import export as exporting

    store = _store(arguments, overrides)
    for key in [store.find(key) for key in arguments.keys]:
        exporting.export(store, key, arguments.to)
        sys.stdout.write(f"{key} in {arguments.to.split('?')[0]}\n")


def report(arguments: Namespace, overrides: list[str]) -> None:
    """Write the page of a sweep."""
    from dark_halo_scope.bases.report import page

    store = _store(arguments, overrides)
    sys.stdout.write(f"{page.report(Path(arguments.sweep), store.root, arguments.out, arguments.metric)}\n")


def _add(asked: _SubParsersAction, name: str, run: Any, does: str, *names: str, plain: bool = False) -> ArgumentParser:
    parser: ArgumentParser = asked.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
    for word in names:
        parser.add_argument(word.lower(), metavar=word)
    parser.add_argument(
        "--store", type=Path, metavar="FOLDER", help="folder of the base models (default: bases/ in paths.data_dir)"
    )
    if plain:
        parser.add_argument("--json", action="store_true", help="print plain data, for scripts")
    parser.set_defaults(run=run)
    return parser


def _add_gc(asked: _SubParsersAction) -> None:
    parser = _add(asked, "gc", gc, "tell which base models nothing needs any more, or remove them", plain=True)
    parser.add_argument(
        "--roots", type=Path, nargs="+", default=[], metavar="FOLDER", help="with fine-tunings that need base models"
    )
    parser.add_argument(
        "--unused-days",
        type=float,
        default=30.0,
        metavar="DAYS",
        help="what was used since stays (default: %(default)g)",
    )
    parser.add_argument(
        "--max-gb", type=float, metavar="GB", help="the longest unused go, too, down to this size of all"
    )
    parser.add_argument("--remove", action="store_true", help="do it")


def _store(arguments: Namespace, overrides: list[str]) -> "BaseStore":
    from omegaconf import OmegaConf

    from dark_halo_scope.bases.store import BaseStore

    if overrides:
        raise ConfigError(f"{overrides[0]}: halo bases takes options only, no key=value")
    if arguments.store is not None:
        return BaseStore(arguments.store)
    register_resolvers()
    paths = OmegaConf.create({"paths": OmegaConf.load(CONFIGS / "paths" / "default.yaml")}).paths
    return BaseStore(Path(paths.data_dir) / "bases")


def _print(arguments: Namespace, record: Any, render: "Callable[[], RenderableType]") -> None:
    from rich.console import Console

    if arguments.json:
        sys.stdout.write(json.dumps(record, indent=2, allow_nan=False) + "\n")
    else:
        Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(render())
