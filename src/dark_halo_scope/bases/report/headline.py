"""What a sweep says, in a few sentences, and what it cannot say."""

from collections.abc import Mapping
from typing import Any

from dark_halo_scope.bases.report.arms import ALONE, BASE, FULL, TUNED
from dark_halo_scope.bases.report.crossings import BELOW, BEYOND
from dark_halo_scope.bases.report.wording import (
    capital,
    crossing_interval,
    harm_interval,
    metric_name,
    plural,
    position,
    tally,
    title,
)
from dark_halo_scope.pages.wording import number, number_interval

Values = Mapping[str, Any]


def headline(summary: Values) -> list[str]:
    """The sentences at the top: who leads where labels are few, whom it harms, the crossing, the claims."""
    told = []
    if summary["curves"] and summary["design"]["budgets"]:
        first = max(_fewest_labels(summary), key=lambda curve: curve["mean"])
        told = [_leads(summary, first), _harms(summary, first)]
    return [sentence for sentence in (*told, _overtaken(summary), _claims(summary)) if sentence]


def _fewest_labels(summary: Values) -> list[Values]:
    """Every arm at the fewest labels and the most base groups."""
    design = summary["design"]
    budget, n_base = design["budgets"][0]["name"], max(design["n_base"], default=None)
    return [c for c in summary["curves"] if c["n_base"] in (n_base, None) and c["budget"] in (budget, None)]


def _leads(summary: Values, first: Values) -> str:
    design = summary["design"]
    references = [c for c in _fewest_labels(summary) if c["mode"] in (BASE, ALONE) and c != first]
    against = " and ".join(f"{title(curve['mode'])} {_value(curve)}" for curve in references)
    labels = plural(design["budgets"][0]["n_labels"], "label")
    n_base = f" and {plural(design['n_base'][-1], 'base group')}" if design["n_base"] else ""
    return (
        f"With {labels} of the target{n_base}, {title(first['mode'])} has the highest mean "
        f"{metric_name(summary['metric'])} over {plural(len(design['complete_groups']), 'group')}: {_value(first)}"
        f"{', against ' if against else ''}{against}."
    )


def _value(curve: Values) -> str:
    return number(curve["mean"]) + (f" ({number_interval(curve['interval'])})" if curve["interval"] else "")


def _harms(summary: Values, first: Values) -> str:
    """What the arm that leads in the mean does to single groups there."""
    cell = {"arm": first["mode"], "reference": BASE, "n_base": first["n_base"], "budget": first["budget"]}
    for record in summary["harm"]:
        if all(record[name] == value for name, value in cell.items()):
            n_groups = plural(record["n_groups"], "group")
            return (
                f"It leaves {record['n_harmed']} of {n_groups} worse off than the base alone ({harm_interval(record)})."
            )
    return ""


def first_crossing(summary: Values) -> Values | None:
    """Where training on the target alone overtakes what a base gives; None if nothing of that is in the sweep.

    Of the arms with a base, the first that is overtaken in the range that was tried, customised ones before others.
    """
    found = sorted(_of_target_alone(summary), key=lambda record: record["other"] == BASE)
    return next((record for record in found if not isinstance(record["at"], str)), next(iter(found), None))


def _of_target_alone(summary: Values) -> list[Values]:
    """Its crossings along the label budget, at the most base groups."""
    most_bases = max(summary["design"]["n_base"], default=None)
    found = {
        record["other"]: record
        for record in summary["crossings"]
        if record["arm"] == ALONE and record["axis"] == "budget" and record["n_base"] == most_bases
    }
    return [found[mode] for mode in (BASE, FULL, TUNED) if mode in found]


def _overtaken(summary: Values) -> str:
    records = _of_target_alone(summary)
    if not records:
        return ""
    n_base = records[0]["n_base"]
    where = f"with {plural(n_base, 'base group')}, " if n_base is not None else ""
    places = "; ".join(f"{title(record['other'])} {crossing_place(record)}" for record in records)
    return capital(f"{where}training on the target alone overtakes {places}.")


def crossing_place(record: Values) -> str:
    """Where a crossing lies, with its interval: ``at 264 labels (95 % interval: 211 to 332)``."""
    low, high = (position(record, end) for end in record["range"])
    if record["at"] == BELOW:
        told = f"nowhere in the range that was tried: it is ahead from {low} on"
    elif record["at"] == BEYOND:
        told = f"nowhere in the range that was tried: it is not ahead at {high}"
    else:
        told = f"at {position(record, record['at'])}"
    return told + (f" (95 % interval: {crossing_interval(record)})" if record["interval"] else "")


def _claims(summary: Values) -> str:
    """What the tests of the pair that is asked about first have shown."""
    family = summary["comparisons"]
    if not family["can_claim"]:
        return ""
    arm, other = family["records"][0]["arm"], family["records"][0]["other"]
    of_pair = [record for record in family["records"] if (record["arm"], record["other"]) == (arm, other)]
    ahead, behind, neither = tally(of_pair)
    return (
        f"Of {plural(len(of_pair), 'point')} tried, {title(arm)} is shown to be ahead of {title(other)} at {ahead}, "
        f"behind it at {behind}, and neither at {neither}."
    )


def cannot_claim(summary: Values) -> str:
    """Why no difference on the page is claimed; empty where some can be."""
    family, n_groups = summary["comparisons"], plural(len(summary["design"]["groups"]), "group")
    if family["can_claim"]:
        return ""
    if not family["records"]:
        return "No difference on this page is claimed: no two arms that are compared share a group at any point."
    if not family["n_tests"]:
        return (
            f"No difference on this page is claimed: with {n_groups}, a two-sided sign-flip test cannot reach p < 0.05 "
            f"whatever the results; it takes {summary['intervals']['min_groups']} groups, and more after a correction."
        )
    return (
        f"No difference on this page is claimed: {n_groups} cannot reach p < 0.05 after the correction for "
        f"{plural(family['n_tests'], 'test')}, whatever the results; that takes {family['groups_needed']} groups, or "
        "fewer points."
    )
