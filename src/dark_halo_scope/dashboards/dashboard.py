"""From a composed config to a workspace, saved on the server or written as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

import wandb
import wandb_workspaces.workspaces as ws
from omegaconf import DictConfig

from dark_halo_scope.dashboards.panels import STEP
from dark_halo_scope.dashboards.sections import Column, all_sections
from dark_halo_scope.files import write_json
from dark_halo_scope.search.settings import read_settings
from dark_halo_scope.search.space import read_space

NAME = "Dark Halo Scope"
MAX_RUNS = 50  # drawn in a panel: a search has about as many trials
COLUMNS = ("run:tags", "run:state", "summary:test/auroc", "summary:test/tpr_at_fpr_1e-2", "summary:test/ece")


class DashboardError(ValueError):
    """A dashboard that cannot be made or saved."""


def build(config: DictConfig, command_line: Sequence[str], entity: str, project: str | None) -> ws.Workspace:
    """Lay out the workspace for the runs of a project.

    Args:
        config: of a search: its parameters and objectives are those of the sweep section.
        command_line: its overrides, sweeps among them.
        entity: user or team; empty if the workspace is not to be saved.
        project: W&B project; None for that of the runs.

    Raises:
        DashboardError: such runs log nothing to W&B.
    """
    if not config.logger.get("wandb"):
        raise DashboardError("with this logger= nothing is logged to Weights & Biases: choose wandb or wandb_csv")
    space = read_space(config.search.get("space") or {}, command_line)
    columns = [Column(p.name, getattr(p.distribution, "log", False)) for p in space.parameters]
    best = config.logger.wandb.best
    objectives = [f"{m}.{best[m]}" if m in best else m for m, _ in read_settings(config).objectives]
    return ws.Workspace(
        entity=entity,
        project=project or config.logger.wandb.project,
        name=NAME,
        sections=all_sections(columns, objectives),
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(pinned_columns=[*COLUMNS, *(f"summary:{key}" for key in objectives)]),
    )


def write(workspace: ws.Workspace, path: Path) -> None:
    """Write what would be sent, as JSON."""
    view = workspace._to_model()  # the package has no other way to get at it without sending it
    spec = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    write_json(path, {"entity": view.entity, "project": view.project, "name": view.display_name, "spec": spec})


def save(workspace: ws.Workspace) -> str:
    """Save a new view on the server; returns its address.

    A view of the same name is left alone: it may be a colleague's, who has laid it out anew since.

    Raises:
        DashboardError: the server does not take the key, the entity or the view, or does not answer.
    """
    try:
        workspace.save()
        return str(workspace.url)
    except wandb.errors.Error as error:
        raise DashboardError(
            f"Weights & Biases did not save the dashboard for {workspace.entity}/{workspace.project}: {_told(error)}; "
            "log in anew with `wandb login`, check --entity and --project, or write it as JSON with --out"
        ) from error


def default_entity() -> str:
    """The user or team that the configured key belongs to.

    Raises:
        DashboardError: the server does not take the key, or does not answer.
    """
    try:
        return str(wandb.Api().default_entity)
    except wandb.errors.Error as error:
        raise DashboardError(
            f"Weights & Biases does not say whose the configured key is: {_told(error)}; log in anew with "
            "`wandb login`, or write the dashboard as JSON with --out"
        ) from error


def _told(error: Exception) -> str:
    return str(error).rstrip(".")
