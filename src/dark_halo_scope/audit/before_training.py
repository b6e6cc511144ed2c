"""The audit that a run makes of its data before it trains; kept by fingerprint, so that a second run pays nothing."""

import json
import logging
import time
from pathlib import Path
from typing import Any

from dark_halo_scope.audit.audit import FILES, audit_dataset
from dark_halo_scope.audit.catalogue import catalogue_of
from dark_halo_scope.audit.gates import FAIL
from dark_halo_scope.audit.settings import AuditError, AuditSettings
from dark_halo_scope.files import write_atomically
from dark_halo_scope.stamps.index import StampIndex

log = logging.getLogger(__name__)


def audit_before_training(
    index: StampIndex,
    run_dir: Path,
    settings: AuditSettings,
    kept_audits: Path,
    *,
    region_column: str,
    host_column: str,
    progress: bool,
) -> dict[str, Any] | None:
    """Write ``audit.json``, ``audit.html`` and ``trivial_scores.parquet`` into the run folder.

    Args:
        index: The dataset.
        run_dir: Run folder.
        settings: How to audit, and what to do about the verdict.
        kept_audits: Folder of the audits made before, one a dataset and setting.
        region_column: As in `StampIndex.build`.
        host_column: As in `StampIndex.build`.
        progress: Show a bar with the rate and the time left.

    Returns:
        The content of ``audit.json``; None with ``mode`` off.

    Raises:
        AuditError: A gate fails and ``mode`` is stop.
    """
    if settings.mode == "off":
        return None
    kept = kept_audits / f"{index.fingerprint[:16]}-{settings.digest()[:8]}"
    if not (kept / "audit.json").exists():
        started = time.perf_counter()
        catalogue = catalogue_of(index, region_column=region_column, host_column=host_column)
        audit_dataset(catalogue, settings, progress=progress).write(kept)
        log.info("audited the dataset in %.0f s; kept in %s", time.perf_counter() - started, kept)
    for name in FILES:
        write_atomically(run_dir / name, (kept / name).read_bytes())
    record: dict[str, Any] = json.loads((run_dir / "audit.json").read_text())
    _tell(record, run_dir / "audit.html", settings.mode)
    return record


def _tell(record: dict[str, Any], page: Path, mode: str) -> None:
    """Log the verdict, or stop at it."""
    log.info("audit of the dataset: %s; see %s", record["verdict"], page)
    failed = [f"{gate['name']}: {gate['finding']}" for gate in record["gates"] if gate["verdict"] == FAIL]
    if failed and mode == "stop":
        raise AuditError(
            f"the dataset fails its audit ({'; '.join(failed)}); see {page}, "
            "or set audit.mode=warn to train all the same"
        )
    for sentence in failed:
        log.warning("audit: %s", sentence)
