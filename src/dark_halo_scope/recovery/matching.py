"""Which scored stamp is which known lens: by id, or by position."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy import units
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from dark_halo_scope.recovery.catalogue import ID_COLUMN, KnownLenses, KnownLensesError

NOT_SCORED = -1


@dataclass(frozen=True)
class Matches:
    """The scored stamp of each of n known lenses.

    Attributes:
        stamp: Its place in the score table, or `NOT_SCORED`; (n,).
        reason: Why there is none, by the lens's place in the catalogue.
        separation_arcsec: To the nearest scored stamp (n,), NaN where not matched by position.
        how: By what they were matched.
    """

    stamp: NDArray[np.int64]
    reason: dict[int, str]
    separation_arcsec: NDArray[np.float64]
    how: str


def match(known: KnownLenses, scores: pa.Table, id_column: str | None, radius_arcsec: float) -> Matches:
    """Match by id where catalogue and scores have ids, else by position.

    A stamp counts for one lens only: further entries of the catalogue that match it are told, not counted.

    Args:
        known: The lenses.
        scores: A score table; for positions with columns ``ra`` and ``dec``, degrees.
        id_column: Of both; ``stamp_id`` unless given.
        radius_arcsec: Within which a stamp's position is that of the lens.

    Raises:
        KnownLensesError: When there is nothing to match by.
    """
    ids = id_column or ID_COLUMN
    if known.id is not None and ids in scores.column_names:
        matches = _by_id(known, scores[ids], ids)
    elif {"ra", "dec"} <= set(scores.column_names):
        matches = _by_position(known, scores, radius_arcsec)
    else:
        raise KnownLensesError(
            f"the scored stamps have neither {ids} nor ra and dec (they have {', '.join(scores.column_names)}): "
            "name a column that both files hold with --id-column"
        )
    return _each_stamp_once(known, matches)


def _by_id(known: KnownLenses, ids: pa.ChunkedArray, column: str) -> Matches:
    assert known.id is not None
    found = pc.index_in(pa.array(known.id), value_set=ids.cast(pa.string()).combine_chunks())
    stamp = found.fill_null(NOT_SCORED).to_numpy().astype(np.int64)
    reason = dict.fromkeys(np.flatnonzero(stamp == NOT_SCORED).tolist(), f"no scored stamp has this {column}")
    return Matches(stamp, reason, np.full(len(stamp), np.nan), f"the column {column}")


def _by_position(known: KnownLenses, scores: pa.Table, radius_arcsec: float) -> Matches:
    placed = np.isfinite(known.ra) & np.isfinite(known.dec)
    stamp, separation = np.full(len(placed), NOT_SCORED), np.full(len(placed), np.nan)
    if not placed.any():
        raise KnownLensesError("the catalogue has no positions, and the scored stamps none of its ids: see --id-column")
    lenses = SkyCoord(known.ra[placed], known.dec[placed], unit=units.deg)
    stamps = SkyCoord(scores["ra"].to_numpy(), scores["dec"].to_numpy(), unit=units.deg)
    nearest, distance, _ = lenses.match_to_catalog_sky(stamps)
    separation[placed] = distance.arcsec
    stamp[placed] = np.where(distance.arcsec <= radius_arcsec, nearest, NOT_SCORED)
    reason = {
        row: f"the nearest scored stamp is {_distance(separation[row])} away" if placed[row] else "it has no position"
        for row in np.flatnonzero(stamp == NOT_SCORED).tolist()
    }
    return Matches(stamp, reason, separation, f"position, within {radius_arcsec:g} arcsec")


def _each_stamp_once(known: KnownLenses, matches: Matches) -> Matches:
    stamp, reason, first = matches.stamp.copy(), dict(matches.reason), dict[int, int]()
    for row, place in enumerate(matches.stamp.tolist()):
        if place == NOT_SCORED:
            continue
        if place in first:
            stamp[row] = NOT_SCORED
            reason[row] = f"it is the same stamp as {known.name[first[place]]}, which is counted"
        else:
            first[place] = row
    return Matches(stamp, reason, matches.separation_arcsec, matches.how)


def _distance(arcsec: float) -> str:
    if arcsec < 60:
        return f"{arcsec:.1f} arcsec"
    return f"{arcsec / 60:.1f} arcmin" if arcsec < 3600 else f"{arcsec / 3600:.1f} degrees"
