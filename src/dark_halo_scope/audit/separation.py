"""Whether splits share anything by which a network could know the test: regions, hosts, places on the sky, pixels."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.audit.catalogue import Catalogue
from dark_halo_scope.audit.duplicates import MAX_DIFFERENT_BITS, Pairs, exact_pairs, near_pairs
from dark_halo_scope.audit.fingerprints import N_BITS
from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS, UNMEASURED, Gate, listed
from dark_halo_scope.audit.sample import Sample
from dark_halo_scope.stamps import leaks
from dark_halo_scope.stamps.contract import CLASSES, SPLITS

_MATCH_ARCSEC = 1.0
_SHOWN_PAIRS = 12


def key_gate(catalogue: Catalogue, what: str, column: str) -> tuple[Gate, dict[str, Any]]:
    """Whether a region or a host lies in two splits; all rows in use."""
    keys = catalogue.keys.get(column)
    name, rule = f"{what} in two splits", "one row in a later split than another of its key fails"
    if keys is None:
        remedy = f"name the column that holds it ({what.lower()[:-1]}_column=...)"
        return Gate(name, UNMEASURED, f"not every file has a column {column}", rule, remedy), {"column": column}
    misplaced = leaks.misplaced_rows(keys, catalogue.index.split, catalogue.used)
    n_keys = pa.chunked_array(keys).combine_chunks().dictionary_encode().dictionary
    record = {"column": column, "distinct": len(n_keys), "misplaced_rows": int(misplaced.sum())}
    if not misplaced.any():
        return Gate(name, PASS, f"{len(n_keys):,} values of {column}, each in one split", rule), record
    examples = leaks.describe(keys, catalogue.index.split, catalogue.used, misplaced)
    return Gate(
        name,
        FAIL,
        f"the same {column} in two splits: {examples}; {misplaced.sum():,} rows",
        rule,
        "give each to one split, or set data.on_split_leak=drop",
    ), record | {"examples": examples}


def position_gate(catalogue: Catalogue) -> tuple[Gate, dict[str, Any]]:
    """Whether stamps of two splits are centred on the same place on the sky; all rows in use."""
    name = "Places on the sky in two splits"
    rule = f"stamps of two splits whose centres lie within {_MATCH_ARCSEC:g} arcsec fail"
    rows = np.flatnonzero(catalogue.used)
    table = catalogue.index.metadata(rows, ["ra", "dec"])
    if set(table.column_names) != {"ra", "dec"}:
        return Gate(name, UNMEASURED, "the dataset has no columns ra and dec", rule), {}
    ra, dec = (table[c].cast(pa.float64()).to_numpy() for c in ("ra", "dec"))
    split = catalogue.index.split[rows]
    misplaced = np.zeros(len(rows), np.bool_)
    for cells in _overlapping_cells(ra, dec):
        misplaced |= leaks.misplaced_rows([cells], split, np.isfinite(ra) & np.isfinite(dec))
    record = {"misplaced_rows": int(misplaced.sum())}
    if not misplaced.any():
        return Gate(name, PASS, "no place on the sky is in two splits", rule), record
    first = rows[misplaced][:4]
    places = [f"{r:.5f} {d:+.5f}" for r, d in zip(ra[misplaced][:4], dec[misplaced][:4], strict=True)]
    return Gate(
        name,
        FAIL,
        f"{misplaced.sum():,} stamps lie where a stamp of an earlier split does (ra dec: {listed(places)})",
        rule,
        "keep one place in one split: galaxies in overlapping regions come under two names",
    ), record | {"first_rows": first.tolist()}


def _overlapping_cells(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> list[pa.Array]:
    """Cells of the sky twice as wide as a match, on four grids, so that two matching places share one of them."""
    side = 2 * _MATCH_ARCSEC / 3600
    grids = []
    for up in (0.0, 0.5):
        row = np.floor((np.nan_to_num(dec) + 90) / side + up)
        circle = np.nan_to_num(ra) * np.cos(np.deg2rad(np.clip((row - up) * side - 90, -90, 90))) / side
        grids += [pa.array((row * 2**31 + np.floor(circle + right)).astype(np.int64)) for right in (0.0, 0.5)]
    return grids


def duplicate_gates(catalogue: Catalogue, sample: Sample) -> tuple[list[Gate], dict[str, Any]]:
    """Whether stamps show the same sky: equal pixels, and nearly equal ones."""
    n_used = int(catalogue.used.sum())
    share = len(sample.rows) / n_used
    seen = f"among {len(sample.rows):,} stamps" + (
        f", {share:.1%} of all; all_stamps=true looks at all" if share < 1 else ""
    )
    gates = []
    records: dict[str, Any] = {"stamps": len(sample.rows), "fraction": share, "max_different_bits": MAX_DIFFERENT_BITS}
    for name, pairs, rule in (
        ("Stamps with equal pixels", exact_pairs(catalogue.index, sample), "equal pixels"),
        (
            "Nearly equal stamps",
            near_pairs(catalogue.index, sample),
            f"signatures that differ in at most {MAX_DIFFERENT_BITS} of {N_BITS} bits (moved, turned, rescaled, with "
            "another arc)",
        ),
    ):
        gates.append(_pair_gate(catalogue, name, pairs, rule, seen))
        records["exact" if pairs.exact else "near"] = {
            "pairs": len(pairs.rows),
            "across_splits": int(pairs.across_splits.sum()),
            "across_classes": int(pairs.across_classes.sum()),
            "shown": [_described(catalogue, pairs, i) for i in pairs.gravest(_SHOWN_PAIRS)],
        }
    return gates, records


def _pair_gate(catalogue: Catalogue, name: str, pairs: Pairs, rule: str, seen: str) -> Gate:
    n, n_splits, n_classes = len(pairs.rows), int(pairs.across_splits.sum()), int(pairs.across_classes.sum())
    contradictory = pairs.exact and n_classes > 0
    verdict = FAIL if n_splits or contradictory else CONCERN if n and pairs.exact else PASS
    rule = f"{rule} in two splits" + (
        " or in both classes fail, elsewhere they are a concern" if pairs.exact else " fail"
    )
    if not n:
        return Gate(name, verdict, f"none {seen}", rule)
    first = [
        " and ".join(f"{file} row {row}" for file, row in map(catalogue.index.locate, pairs.rows[i].tolist()))
        for i in pairs.gravest(2)
    ]
    found = (
        f"{n:,} pairs {seen}: {n_splits:,} across splits, {n_classes:,} with both labels (first: {'; '.join(first)})"
    )
    remedy = "keep each piece of sky in one split, and once" if verdict != PASS else ""
    return Gate(name, verdict, found, rule, remedy)


def _described(catalogue: Catalogue, pairs: Pairs, i: int) -> dict[str, Any]:
    both = []
    for row in pairs.rows[i].tolist():
        file, row_in_file = catalogue.index.locate(row)
        split, label = SPLITS[catalogue.index.split[row]], CLASSES[catalogue.index.label[row]]
        both.append({"row": row, "file": file, "row_in_file": row_in_file, "split": split, "class": label})
    return {"stamps": both, "different_bits": int(pairs.different_bits[i])}
