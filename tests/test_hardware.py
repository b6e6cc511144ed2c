"""Machines that are there, machines that are not, and machines that cannot do what is asked."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from dark_halo_scope import hardware
from dark_halo_scope.configuration import CONFIGS
from dark_halo_scope.hardware import HardwareError, is_compiled


def asked(**overrides):
    return OmegaConf.merge(OmegaConf.load(CONFIGS / "hardware" / "auto.yaml"), overrides)


@pytest.fixture
def v100(monkeypatch):
    """What PyTorch says on a machine with two V100s; none is at hand where these tests run."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100-SXM2-16GB")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_70", "sm_80", "sm_90"])


def test_cpu_settles_every_auto():
    machine = hardware.resolve(asked(accelerator="cpu"))
    assert (machine.accelerator, machine.devices, machine.strategy, machine.world_size) == ("cpu", 1, "auto", 1)
    assert machine.precision == ("bf16-mixed" if hardware.cpu_has_bf16() else "32-true")
    assert machine.loader_threads >= 1


def test_two_processes_use_ddp_and_share_the_cores():
    one, two = hardware.resolve(asked(accelerator="cpu")), hardware.resolve(asked(accelerator="cpu", devices=2))
    assert two.strategy == "ddp"
    assert two.world_size == 2
    assert two.loader_threads == max(1, one.loader_threads // 2)


def test_bf16_of_a_cpu_is_read_from_its_flags(tmp_path: Path):
    for flags, expected in (("fpu avx512f avx512_bf16", True), ("fpu amx_bf16 amx_tile", True), ("fpu avx512f", False)):
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags}\n")
        assert hardware.cpu_has_bf16(cpuinfo) is expected
    assert hardware.cpu_has_bf16(tmp_path / "none") is False


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"accelerator": "cpu", "precision": "16-mixed"}, "fp16 does not train on a CPU"),
        ({"accelerator": "cpu", "precision": "bf16"}, "none of auto, 32-true, bf16-mixed, 16-mixed"),
        ({"accelerator": "tpu"}, "none of auto, cpu, gpu"),
        ({"accelerator": "cpu", "compile": "always"}, "none of auto, true, false"),
    ],
)
def test_impossible_requests_are_refused(overrides, words):
    with pytest.raises(HardwareError, match=words):
        hardware.resolve(asked(**overrides))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(HardwareError, match="sees no GPU here"):
        hardware.resolve(asked(accelerator="gpu"))


@pytest.mark.usefixtures("v100")
def test_v100_gets_fp16_and_refuses_bf16():
    machine = hardware.resolve(asked())
    assert (machine.accelerator, machine.devices, machine.strategy, machine.precision) == ("gpu", 2, "ddp", "16-mixed")
    with pytest.raises(HardwareError, match="has no bf16: use hardware=v100_ddp"):
        hardware.resolve(asked(precision="bf16-mixed"))
    with pytest.raises(HardwareError, match=r"has 2 GPU\(s\)"):
        hardware.resolve(asked(devices=8))


def test_compiling_is_for_gpus_from_ampere_on_with_a_compiler(v100, monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not is_compiled("auto", cuda)
    assert is_compiled(True, cuda)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert is_compiled("auto", cuda)
    assert not is_compiled(False, cuda)
    assert not is_compiled("auto", torch.device("cpu"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not is_compiled("auto", cuda)
    for device, words in ((cuda, "needs the C compiler gcc or clang"), (torch.device("cpu"), r"the C\+\+ compiler g")):
        with pytest.raises(HardwareError, match=words):
            is_compiled(True, device)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HardwareError, match="needs Triton"):
        is_compiled(True, cuda)


@pytest.mark.usefixtures("v100")
def test_pytorch_without_kernels_for_the_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90a"])
    with pytest.raises(HardwareError, match=r"install the CUDA 12.6 build of PyTorch, or torch < 2.11"):
        hardware.resolve(asked())
