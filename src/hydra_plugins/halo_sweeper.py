"""`hydra/sweeper=halo`: where Hydra finds the search. Imported at every start of Hydra, so it imports nothing heavy."""

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class HaloSweeper(Sweeper):
    """Runs the search that the group `hparams_search` describes, one launcher call a trial."""

    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over."""
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Work on the search until it is finished; `arguments` are the overrides of the command line."""
        from dark_halo_scope.search.sweep import sweep

        assert self.hydra_context is not None
        assert self.config is not None
        return sweep(self.config, self.hydra_context.config_loader, self.launcher, arguments)


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="halo",
    node={"_target_": f"{HaloSweeper.__module__}.{HaloSweeper.__qualname__}"},
    provider="dark_halo_scope",
)
