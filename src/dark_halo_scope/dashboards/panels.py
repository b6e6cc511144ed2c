"""The panels that the sections are made of: each says which logged key it shows."""

from typing import Any

import wandb_workspaces.reports.v2 as wr

STEP = "trainer/global_step"  # goes on over a resume, other than W&B's own step
FULL_WIDTH = wr.Layout(w=24, h=10)


def lines(title: str, *metrics: str, log: bool = False, share: bool = False, x: str = STEP) -> wr.LinePlot:
    """Metrics against the optimiser step.

    Args:
        title: of the panel.
        metrics: logged keys.
        log: a logarithmic axis.
        share: an axis from 0 to 1.
        x: another axis; W&B samples what it knows of the machine by time.
    """
    return wr.LinePlot(
        title=title, x=x, y=list(metrics), log_y=log or None, range_y=(0.0, 1.0) if share else (None, None)
    )


def roc(stage: str) -> wr.CustomChart:
    """Completeness near zero false-positive rate, of the best checkpoint."""
    title = f"Completeness near zero false-positive rate ({stage})"
    return _chart(f"evidence/{stage}/roc_near_zero", "wandb/line/v0", {"x": "log10 FPR", "y": "TPR"}, {"title": title})


def curves(stage: str, name: str, title: str, x: str) -> wr.CustomChart:
    """Several curves of the best checkpoint that a run has logged as one chart."""
    fields = {key: key for key in ("step", "lineKey", "lineVal")}
    strings = {"title": f"{title} ({stage})", "xname": x}
    return _chart(f"evidence/{stage}/{name}", "wandb/lineseries/v0", fields, strings)


def mistakes(stage: str, name: str) -> wr.WeavePanelSummaryTable:
    """A table of stamps with their images, the worst first."""
    return wr.WeavePanelSummaryTable(table_name=f"evidence/{stage}/worst_{name}", layout=FULL_WIDTH)


def note(text: str) -> wr.MarkdownPanel:
    """What to look for in a section."""
    return wr.MarkdownPanel(markdown=text)


def config_key(parameter: str) -> str:
    """Where the config of a W&B run has a parameter of a search: a key of the run's config, or a chosen group."""
    return parameter if "." in parameter else f"choices.{parameter}"


def _chart(key: str, definition: str, fields: dict[str, str], strings: dict[str, Any]) -> wr.CustomChart:
    """A chart whose table W&B keeps beside it."""
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": f"{key}_table"}},
        chart_name=definition,
        chart_fields=fields,
        chart_strings=strings,
    )
