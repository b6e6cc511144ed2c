"""`halo audit`: what a dataset gives away, before a network is trained on it."""

import re
import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dark_halo_scope.configuration import CONFIGS, register_resolvers

_COLUMNS = ("region_column", "host_column")


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "audit",
        help="look for leaks, duplicates and shortcuts in a dataset",
        usage="halo audit DATA [--out FOLDER] [--strict] [key=value ...]",
        description="Audit a dataset or a training store: schema and labels, splits, regions and hosts and duplicates "
        "across splits, balance, distributions, missing data, and what a trivial classifier reaches. Writes "
        "audit.html, audit.json and trivial_scores.parquet. key=value overrides a key of configs/audit; region_column "
        "and host_column name columns as in configs/data.",
        epilog="example: halo audit s3://bucket/stamps n_stamps=50000 --strict",
    )
    parser.add_argument("data", help="folder, file or URI of the dataset")
    parser.add_argument("--out", type=Path, help="folder to write (default: logs/audit/<name>-<fingerprint>)")
    parser.add_argument("--strict", action="store_true", help="end with exit code 1 where a gate fails")
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Audit."""
    from hydra.utils import instantiate

    from dark_halo_scope.audit.audit import audit_dataset
    from dark_halo_scope.audit.catalogue import read_catalogue
    from dark_halo_scope.audit.gates import FAIL

    register_resolvers()
    cfg = _configured(overrides)
    catalogue = read_catalogue(arguments.data, region_column=cfg.data.region_column, host_column=cfg.data.host_column)
    audit = audit_dataset(catalogue, instantiate(cfg.audit), progress=sys.stderr.isatty())
    name = re.sub(r"[^\w.-]+", "-", Path(arguments.data.rstrip("/").split("?")[0]).name)
    out = arguments.out or Path(cfg.paths.log_dir) / "audit" / f"{name}-{catalogue.index.fingerprint[:8]}"
    audit.write(out)
    _print(audit.record, out)
    if arguments.strict and audit.record["verdict"] == FAIL:
        raise SystemExit(1)


def _configured(overrides: list[str]) -> DictConfig:
    """Keys of configs/audit, and the two of configs/data that name columns, with what the command line overrides."""
    data = DictConfig(OmegaConf.load(CONFIGS / "data" / "lens_stamps.yaml"))
    columns = OmegaConf.masked_copy(data, list(_COLUMNS))
    known = OmegaConf.create(
        {
            "paths": OmegaConf.load(CONFIGS / "paths" / "default.yaml"),
            "data": columns,
            "audit": OmegaConf.load(CONFIGS / "audit" / "default.yaml"),
        }
    )
    OmegaConf.set_struct(known, True)
    placed = [f"{'data' if word.partition('=')[0] in _COLUMNS else 'audit'}.{word}" for word in overrides]
    merged = OmegaConf.merge(known, OmegaConf.from_dotlist(placed))
    assert isinstance(merged, DictConfig)
    return merged


def _print(record: dict[str, Any], out: Path) -> None:
    """The verdicts as a table, the gravest first."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS, UNMEASURED

    colours = {FAIL: "red", CONCERN: "yellow", UNMEASURED: "dim", PASS: "green"}
    table = Table("verdict", "question", "found")
    for verdict, colour in colours.items():
        for gate in record["gates"]:
            if gate["verdict"] == verdict:
                table.add_row(f"[{colour}]{verdict}[/]", escape(gate["name"]), escape(gate["finding"]))
    console = Console(file=sys.stdout)
    console.print(table)
    console.print(f"verdict: {record['verdict']}; {escape(str(out / 'audit.html'))}", soft_wrap=True)
