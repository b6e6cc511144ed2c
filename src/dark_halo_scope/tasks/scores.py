"""Collect the scores of an evaluation over all ranks, so that every metric is computed once on the whole split."""

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class DuplicateRowError(ValueError):
    """A stamp was scored more than once in one evaluation."""


class ScoreCollection(Metric):
    """Row, logit and label of every stamp of a split.

    A mean over ranks of per-rank metrics is not the metric of the split (an AUROC is not additive), so the scores
    themselves are gathered. Ranks may hold different numbers of stamps: torchmetrics pads the shorter ones and cuts
    the padding off again. Each rank must hold at least one.
    """

    full_state_update = False
    row: list[Tensor]
    logit: list[Tensor]
    label: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("row", "logit", "label"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, row: Tensor, logit: Tensor, label: Tensor) -> None:
        """Add a batch: (B,) int64, float, int64. Logits are kept in float32, where ranks do not tie."""
        self.row.append(row)
        self.logit.append(logit.detach().float())
        self.label.append(label)

    def compute(self) -> dict[str, Tensor]:
        """Return `row`, `logit` and `label` of all ranks, (N,) each, in the order of the rows."""
        row = dim_zero_cat(self.row)
        order = row.argsort()
        row = row[order]
        repeated = row[1:][row[1:] == row[:-1]].unique()
        if len(repeated):
            raise DuplicateRowError(
                f"{len(repeated)} stamps were scored more than once, the first is row {int(repeated[0])}: the loader "
                "must give each stamp to one rank once (trainer.use_distributed_sampler=false)"
            )
        return {"row": row, "logit": dim_zero_cat(self.logit)[order], "label": dim_zero_cat(self.label)[order]}
