"""The whole audit of a dataset: every gate, and the measurements behind it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dark_halo_scope.audit import balance, baselines, metadata, separation, unusable
from dark_halo_scope.audit.catalogue import Catalogue
from dark_halo_scope.audit.gates import FAIL, PASS, Gate, listed, worst
from dark_halo_scope.audit.page import render_audit
from dark_halo_scope.audit.sample import MAX_NONFINITE_FRACTION, Sample, read_sample
from dark_halo_scope.audit.settings import AUDIT_VERSION, AuditSettings
from dark_halo_scope.files import write_atomically, write_json
from dark_halo_scope.stamps.contract import ContractError

FILES = ("audit.json", "audit.html", "trivial_scores.parquet")


@dataclass(frozen=True)
class Audit:
    """The outcome.

    Attributes:
        record: All of it, as it stands in ``audit.json``.
        scores: Scores of the trivial classifiers: see `baselines.trivial_scores`.
        histograms: Values to draw, by name: see `_drawn`.
    """

    record: dict[str, Any]
    scores: pa.Table
    histograms: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write `FILES` into ``folder``; the JSON comes last, so that a folder with it is whole."""
        sink = pa.BufferOutputStream()
        pq.write_table(self.scores, sink)
        write_atomically(folder / "trivial_scores.parquet", sink.getvalue().to_pybytes())
        write_atomically(folder / "audit.html", render_audit(self.record, self.histograms).encode())
        write_json(folder / "audit.json", self.record)


def audit_dataset(catalogue: Catalogue, settings: AuditSettings, *, progress: bool) -> Audit:
    """Audit the rows of ``catalogue``.

    Raises:
        ContractError: Where no row is in use.
    """
    if not catalogue.used.any():
        told = catalogue.breaches[0] if catalogue.breaches else "every row has cutout_ok=0"
        raise ContractError(f"{catalogue.index.files.root}: not one row can be used ({told})")
    sample = read_sample(catalogue.index, settings, progress=progress)
    known = metadata.read_metadata(catalogue)
    stamps = baselines.Stamps.of(catalogue, sample, known.inputs)
    trivial = baselines.measure_baselines(stamps, settings)
    scores, best = baselines.trivial_scores(stamps, trivial)
    splits = balance.split_records(catalogue)
    gates, measured = _gates(catalogue, splits, sample, known, settings)
    gates += baselines.baseline_gates(trivial, settings)
    strongest = baselines.best_of(trivial, baselines.SCALAR)
    record = {
        "version": AUDIT_VERSION,
        "verdict": worst(gate.verdict for gate in gates),
        "dataset": _dataset(catalogue),
        "gates": [asdict(gate) for gate in gates],
        "breaches": list(catalogue.breaches),
        "splits": splits,
        **measured,
        "metadata": {"roles": known.roles, "distributions": known.distributions},
        "baselines": [baseline.to_dict() for baseline in trivial],
        "best_baseline": best,
        "best_scalar": strongest.name if strongest else None,
        "sample": _described(sample, stamps, settings),
        "settings": asdict(settings),
    }
    return Audit(record, scores, _drawn(stamps, trivial))


def _gates(
    catalogue: Catalogue,
    splits: list[dict[str, Any]],
    sample: Sample,
    known: metadata.Metadata,
    settings: AuditSettings,
) -> tuple[list[Gate], dict[str, Any]]:
    """The gates that need no classifier, and what they measured."""
    limits = settings.limits
    region, regions = separation.key_gate(catalogue, "Regions", catalogue.region_column)
    host, hosts = separation.key_gate(catalogue, "Hosts", catalogue.host_column)
    place, places = separation.position_gate(catalogue)
    pairs, duplicates = separation.duplicate_gates(catalogue, sample)
    bad_stamps, faults = unusable.unusable_gate(catalogue, sample, limits)
    left_out, excluded = balance.left_out_gate(catalogue, limits)
    gates = [
        _contract_gate(catalogue),
        balance.split_gate(splits, limits),
        balance.class_gate(splits, limits),
        region,
        host,
        place,
        *pairs,
        bad_stamps,
        left_out,
        metadata.missing_gate(known, limits),
        metadata.class_distance_gate(known, limits),
        metadata.split_distance_gate(known, limits),
    ]
    separated = {"regions": regions, "hosts": hosts, "places": places}
    return gates, {"separation": separated, "duplicates": duplicates, "unusable": faults, "left_out": excluded}


def _contract_gate(catalogue: Catalogue) -> Gate:
    """Whether a run would take the dataset at all."""
    n = len(catalogue.breaches)
    found = "columns, types, labels and splits agree"
    if n:
        found = f"{n} breach{'es' if n > 1 else ''} of contract: {listed(list(catalogue.breaches), 2)}"
    if catalogue.n_unknown:
        found += f"; {catalogue.n_unknown:,} rows are left out of what follows"
    return Gate(
        "Schema and labels",
        FAIL if n else PASS,
        found,
        "any breach of the contract fails: a run refuses the dataset",
        "correct the dataset: each breach says how" if n else "",
    )


def _dataset(catalogue: Catalogue) -> dict[str, Any]:
    index = catalogue.index
    return {
        "root": index.files.root,
        "fingerprint": index.fingerprint,
        "is_store": index.store is not None,
        "files": len(index.files.names),
        "rows": index.n_rows,
        "rows_in_use": int(catalogue.used.sum()),
        "rows_unknown": catalogue.n_unknown,
    }


def _described(sample: Sample, stamps: baselines.Stamps, settings: AuditSettings) -> dict[str, Any]:
    by_split = {split: int(stamps.of_split(split).sum()) for split in ("train", "val", "test")}
    return {
        "stamps": len(sample.measured),
        "read": len(sample.rows),
        "seed": settings.seed,
        "measured": by_split,
        "max_nonfinite_fraction": MAX_NONFINITE_FRACTION,
    }


def _drawn(stamps: baselines.Stamps, trivial: list[baselines.Baseline]) -> dict[str, Any]:
    """Values by class on train and val to draw as histograms: the strongest scalars, and well-known metadata."""
    shown = stamps.split < 2
    label = stamps.label[shown]
    strongest = [b.name for b in trivial if b.kind == baselines.SCALAR][:2]
    wanted = ("psf_fwhm_used_r", "psfdepth_r", "host_mag_r", "host_reff_arcsec")
    values = {name: stamps.pixels[name] for name in strongest}
    values |= {name: stamps.metadata[name] for name in wanted if name in stamps.metadata}
    return {name: (column[shown][label == 0], column[shown][label == 1]) for name, column in values.items()}
