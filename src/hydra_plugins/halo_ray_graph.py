"""`hydra/launcher=ray_graph`, `serial_graph`: sweeps of fine-tunings that share base models.

Imported at every start of Hydra, so it imports nothing heavy. The configs of both are in `configs/hydra/launcher/`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

if TYPE_CHECKING:
    from dark_halo_scope.bases.engine import Executor


class GraphLauncher(Launcher):
    """Hands all jobs of a sweep of Hydra's own sweeper to the engine in `dark_halo_scope.bases`.

    Args:
        workshop: Path of what makes a `bases.work.Workshop` of a config.
        executor: Makes what runs the tasks: see `bases.engine.Executor`.
    """

    def __init__(self, workshop: str, executor: "Callable[[], Executor]") -> None:
        self.workshop = workshop
        self.executor = executor

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over, and let its sweeper, too, compose quickly."""
        from dark_halo_scope.bases.compose import SweepLoader

        hydra_context.config_loader = SweepLoader(hydra_context.config_loader)
        self.loader = hydra_context.config_loader
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs; leaves what became of them in the sweep's folder and the stores, and returns nothing."""
        from dark_halo_scope.bases.sweep import sweep

        setup_globals()
        folder = Path(self.config.hydra.sweep.dir).absolute()
        with read_write(self.config.hydra.runtime), open_dict(self.config.hydra.runtime):
            self.config.hydra.runtime.output_dir = str(folder)  # where the log goes
        configure_log(self.config.hydra.job_logging, self.config.hydra.verbose)
        sweep(self.config, self.loader, job_overrides, self.workshop, self.executor)
        return []
