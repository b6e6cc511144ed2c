"""Every notebook, cell by cell in a real kernel, on one tiny run and one tiny study."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import optuna
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from dark_halo_scope.configuration import REPOSITORY
from dark_halo_scope.run import run
from dark_halo_scope.search.storage import open_storage
from dark_halo_scope.search.tally import READY
from tests.runs import TINY, composed

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What takes the place of a notebook's first code cell: a finished run, its data, and a study."""
    folder = tmp_path_factory.mktemp("notebooks")
    where = [f"paths.data_dir={folder}/data", f"paths.log_dir={folder}/logs", "run_name=tiny", "logger=none"]
    cfg = composed(*TINY, *where, "experiment=lens_small_cnn", "trainer.max_epochs=1", "callbacks.rich_progress=null")
    Path(cfg.paths.run_dir).mkdir(parents=True)
    run(cfg)
    return {
        "look_at_a_survey": f"DATA = {cfg.data.root!r}",
        "read_a_run": f"from pathlib import Path\nRUN = Path({cfg.paths.run_dir!r})",
        "read_a_sweep": f"STORAGE = {study_of_six(folder)!r}",
    }


def study_of_six(folder: Path) -> str:
    """A study as a search leaves it, two of its trials pruned; its URL."""
    url = f"sqlite:///{folder}/study.db"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(
        study_name="tiny", storage=open_storage(url, 60, 180), direction="maximize", sampler=sampler
    )
    study.set_metric_names(["val/auroc"])

    def train(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("optimizer.lr", 1e-5, 1e-2, log=True)
        model = trial.suggest_categorical("model", ["small_cnn", "resnet18"])
        trial.set_user_attr(READY, [f"optimizer.lr={lr}", f"model={model}"])
        for step in (1, 2):
            trial.report(0.5 + step * lr, step)
        if trial.number in (3, 4):
            raise optuna.TrialPruned
        return 0.5 + 3 * lr

    study.optimize(train, n_trials=6)
    return url


@pytest.fixture(scope="module")
def kernel() -> Iterator[NotebookClient]:
    """One kernel for all notebooks: what it imports takes longer than what they do."""
    client = NotebookClient(nbformat.v4.new_notebook(), timeout=120, kernel_name="python3")
    with client.setup_kernel():
        yield client


def shown(kernel: NotebookClient, notebook: NotebookNode) -> list[str]:
    """Run a notebook with nothing left of the one before; the HTML of its outputs."""
    kernel.nb = notebook
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    for place, cell in enumerate(notebook.cells):
        kernel.execute_cell(cell, place)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_the_data_that_its_first_cell_names(
    path: Path, parameters: dict[str, str], kernel: NotebookClient
):
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.metadata.tags == ["parameters"]
    first.source = parameters[path.stem]
    html = shown(kernel, notebook)
    assert sum("<svg" in output for output in html) >= 3
    assert sum("data:image/png" in output for output in html) == (0 if path.stem == "read_a_sweep" else 2)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_says_what_makes_its_input_and_keeps_no_output(path: Path):
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert 5 <= len(code) <= 10
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert "make train" in cells[0].source or "sweep.py" in cells[0].source
