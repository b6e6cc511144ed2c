"""Nothing in a step waits for the device, proved on tensors that hold no data, and compiling changes no result.

On the device "meta" every operator runs as far as its shapes: one that would read a value, count what a mask selects or
copy to the host fails there, as it would make the host wait on a GPU, and so does mixing in a tensor of the host. The
two modes refuse what puts data of the host on the device, which waits too.
"""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dark_halo_scope.tasks.build import build_task
from dark_halo_scope.transforms.augment import Augment
from dark_halo_scope.windows.statistics import ChannelStatistics
from tests.tasks.composed import composed, names
from tests.tasks.tiny import TinyStamps, tiny_task, tiny_trainer

META = torch.device("meta")
STORED = ["float32", "float16", "raw"]
EAGER_BACKEND = "aot_eager"  # traces and differentiates as the default one does, and needs no C++ compiler


class OnDevice(TorchDispatchMode):
    """Refuses copies between the host and the device META."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        places = {value.device for value in (*args, result) if isinstance(value, torch.Tensor) and value.ndim}
        assert len(places) < 2, f"{operator} copies between {places}"
        return result


class NoNumbersOfTheHost(TorchFunctionMode):
    """Refuses tensors that are made on the device META out of Python's numbers."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor):
            assert result.device != META, f"{function.__name__} copies to the device"
        return result


def stored_batch(kind: str, device: torch.device) -> dict[str, torch.Tensor]:
    """12 stamps as one of the datasets gives them."""
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(12, 3, 64, 64, generator=generator) * 0.01
    batch = {"image": image.half() if kind == "float16" else image}
    if kind == "float16":
        batch["exponent"] = torch.zeros(12, dtype=torch.int8)
    if kind != "raw":
        level = {"sky": 0.0, "sky_sigma": 0.01, "median": 0.0, "mad": 0.0067}
        batch |= {name: torch.full((12, 3), value) for name, value in level.items()}
    batch |= {"label": torch.arange(12) % 2, "row": torch.arange(12) * 31}
    return {name: values.to(device) for name, values in batch.items()}


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("transforms", names("transforms"))
def test_no_operator_of_a_step_waits_for_the_device(transforms, kind, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # "meta" has none
    overrides = ["transforms.augment.max_shift_px=2", "task.class_weighting=3", "task.label_smoothing=0.1"]
    task = build_task(composed("resnet18", transforms, *overrides)).to(META)
    task.log = lambda *_, **__: None  # Lightning's own bookkeeping is not part of the proof
    batch = stored_batch(kind, META)
    if task.inject is not None:
        chosen = {"chosen": torch.tensor([0, 4, 6]), "fwhm_r": torch.full((3,), 1.2), "weights": torch.ones(12, 2)}
        batch |= {name: values.to(META) for name, values in chosen.items()}
    task.train()
    with OnDevice(), NoNumbersOfTheHost():
        loss = task.training_step(batch)
        task.on_train_batch_end(loss, batch, batch_idx=0)
    assert loss.device == META
    task.eval()
    with OnDevice(), NoNumbersOfTheHost(), torch.inference_mode():
        task.validation_step(batch)
    assert task.val_scores.logit[0].shape == (12,)


def test_no_operator_of_a_step_on_windows_waits_for_the_device(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    sizes = ["model.n_channels=6", "model.n_classes=4", "transforms.augment.triples=[[0,1,2],[3,4,5]]"]
    task = build_task(composed("resnet1d", "windows", *sizes, task="window_classification"))
    moments = np.arange(12.0).reshape(2, 6)
    task.normalise.fit(ChannelStatistics(np.array([5, 9]), np.array([64, 64]), moments, moments + 1))
    task.to(META)
    task.log = lambda *_, **__: None
    batch = {"window": torch.randn(8, 6, 64), "participant": torch.tensor([5, 9]).repeat(4)}
    batch |= {"label": torch.arange(8) % 4, "row": torch.arange(8)}
    batch = {name: entry.to(META) for name, entry in batch.items()}
    task.train()
    with OnDevice(), NoNumbersOfTheHost():
        assert task.training_step(batch).device == META
    task.eval()
    with OnDevice(), NoNumbersOfTheHost(), torch.inference_mode():
        task.validation_step(batch)
    assert task.val_scores.logit[0].shape == (8, 4)


WAITS = {
    "float": lambda x: float(x.sum()),
    "nonzero": torch.nonzero,
    "mask": lambda x: x[x > 0],
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: torch.ones(4).to(x.device),
    "mixed": lambda x: x + torch.ones(4),
    "numbers": lambda x: x + torch.tensor([1.0, 2.0, 3.0, 4.0], device=x.device),
    "new_tensor": lambda x: x + x.new_tensor(1.0),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_the_proof_catches_what_waits(wait):
    with pytest.raises((RuntimeError, AssertionError)), OnDevice(), NoNumbersOfTheHost():
        wait(torch.empty(4, device=META))


class NumbersRead(TorchDispatchMode):
    """Counts the floating-point numbers that are read on the host: on a GPU each waits for all that is queued."""

    count = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator is torch.ops.aten._local_scalar_dense.default:
            self.count += args[0].is_floating_point()
        return operator(*args, **(kwargs or {}))


def test_lightning_reads_no_number_of_a_step(tmp_path):
    """Clipping, logging and a progress bar: twice the steps, as many reads."""
    read = []
    for batch_size in (8, 4):
        trainer = tiny_trainer(tmp_path, enable_progress_bar=True, log_every_n_steps=100, max_epochs=1)
        with NumbersRead() as numbers:
            trainer.fit(tiny_task(), datamodule=TinyStamps(batch_size=batch_size))
        read.append(numbers.count)
    assert read[0] == read[1] > 0


@pytest.fixture
def compiled_here(monkeypatch):
    """Compile as `compile: true` does, with a backend that needs no compiler; counts what is traced."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain = torch.compile
    monkeypatch.setattr(torch, "compile", lambda what, **options: plain(what, backend=EAGER_BACKEND, **options))
    monkeypatch.setattr("dark_halo_scope.tasks.base.is_compiled", lambda asked, device: asked is True)
    yield torch._dynamo.utils.counters
    torch._dynamo.reset()


def test_compiling_changes_neither_results_nor_names(compiled_here, tmp_path):
    plain, compiled = tiny_task(), tiny_task(compile=True)
    for task in (plain, compiled):
        tiny_trainer(tmp_path).fit(task, datamodule=TinyStamps())
    first, second = plain.state_dict(), compiled.state_dict()
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=2e-3, atol=2e-4)
    plain.load_state_dict(second)
    images = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(plain.eval()(images), compiled.eval()(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "limits"), [(24, {"limit_val_batches": 1}), (20, {"limit_train_batches": 3})])
def test_a_short_batch_is_not_compiled_anew(size, limits, compiled_here, tmp_path):
    """Transforms and network, in training and scoring: four graphs, though one of the two ends in a short batch.

    Below 16 stamps a CPU, though no GPU, convolves by another rule and is compiled for it.
    """
    task = tiny_task(compile=True, augment=Augment(max_shift_px=2))
    tiny_trainer(tmp_path, **limits).fit(task, datamodule=TinyStamps(batch_size=size))
    assert compiled_here["stats"]["unique_graphs"] == 4
    assert not compiled_here["graph_break"]
