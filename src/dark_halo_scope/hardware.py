"""The machine: what a run asks for (`configs/hardware/`) against what is there.

Everything that cannot work is refused here with the remedy, before data or model are touched.
"""

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
MAX_LOADER_THREADS = 16


class HardwareError(ValueError):
    """A machine that is not there, or cannot do what is asked of it."""


@dataclass(frozen=True)
class Hardware:
    """Settled facts of the machine a run uses."""

    accelerator: str
    devices: int
    num_nodes: int
    strategy: str
    precision: str
    channels_last: bool
    compiled: bool
    loader_threads: int
    device_name: str

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.devices * self.num_nodes

    def trainer_arguments(self) -> dict[str, Any]:
        """What the Lightning Trainer needs to know."""
        return {
            "accelerator": self.accelerator,
            "devices": self.devices,
            "num_nodes": self.num_nodes,
            "strategy": self.strategy,
            "precision": self.precision,
        }


def resolve(asked: DictConfig) -> Hardware:
    """Settle every ``auto`` of ``configs/hardware/`` and refuse what this machine cannot do.

    Raises:
        HardwareError: no GPU where one is asked for, fewer than asked for, bf16 or fp16 where the device has none,
            or a PyTorch build without kernels for the GPU.
    """
    accelerator = _accelerator(asked.accelerator)
    devices = _devices(asked.devices, accelerator)
    if accelerator == "gpu":
        _check_kernels()
    precision = _precision(asked.precision, accelerator)
    world = devices * asked.num_nodes
    strategy = asked.strategy if asked.strategy != "auto" else ("ddp" if world > 1 else "auto")
    cores = len(os.sched_getaffinity(0))
    threads = asked.loader_threads
    if threads == "auto":
        threads = max(1, min(MAX_LOADER_THREADS, cores // devices))
    compiled = is_compiled(asked.compile, torch.device("cuda" if accelerator == "gpu" else "cpu"))
    return Hardware(
        accelerator=accelerator,
        devices=devices,
        num_nodes=asked.num_nodes,
        strategy=strategy,
        precision=precision,
        channels_last=asked.channels_last,
        compiled=compiled,
        loader_threads=threads,
        device_name=torch.cuda.get_device_name(0) if accelerator == "gpu" else f"CPU, {cores} cores",
    )


def _accelerator(asked: str) -> str:
    if asked == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if asked == "gpu" and not torch.cuda.is_available():
        raise HardwareError(
            f"hardware.accelerator=gpu, but PyTorch {torch.__version__} sees no GPU here: use hardware=cpu, or install "
            "a CUDA build of PyTorch"
        )
    if asked not in ("cpu", "gpu"):
        raise HardwareError(f"hardware.accelerator={asked} is none of auto, cpu, gpu")
    return asked


def _devices(asked: int | str, accelerator: str) -> int:
    there = torch.cuda.device_count() if accelerator == "gpu" else 1
    if asked == "auto":
        return there
    if accelerator == "gpu" and int(asked) > there:
        raise HardwareError(
            f"hardware.devices={asked}, but this machine has {there} GPU(s): ask for {there} or for auto"
        )
    return int(asked)


def _check_kernels() -> None:
    """A wheel without kernels for the GPU fails much later, with a CUDA error that names neither."""
    capability = torch.cuda.get_device_capability(0)
    compiled = [
        int(arch.removeprefix("sm_").rstrip("af")) for arch in torch.cuda.get_arch_list() if arch.startswith("sm_")
    ]
    if compiled and capability[0] * 10 + capability[1] < min(compiled):
        raise HardwareError(
            f"{torch.cuda.get_device_name(0)} (sm_{capability[0]}{capability[1]}) is older than the kernels of PyTorch"
            f" {torch.__version__}, which begin at sm_{min(compiled)}: install the CUDA 12.6 build of PyTorch,"
            " or torch < 2.11"
        )


def _precision(asked: str, accelerator: str) -> str:
    if asked == "auto":
        if accelerator == "cpu":
            return "bf16-mixed" if cpu_has_bf16() else "32-true"
        return "bf16-mixed" if gpu_has_bf16() else "16-mixed"
    if asked not in PRECISIONS:
        raise HardwareError(f"hardware.precision={asked} is none of auto, {', '.join(PRECISIONS)}")
    if asked == "bf16-mixed" and accelerator == "gpu" and not gpu_has_bf16():
        raise HardwareError(
            f"{torch.cuda.get_device_name(0)} has no bf16: use hardware=v100_ddp or hardware.precision=16-mixed"
        )
    if asked == "16-mixed" and accelerator == "cpu":
        raise HardwareError(
            "fp16 does not train on a CPU: use hardware.precision=auto (bf16 where the CPU has it, else fp32)"
        )
    return asked


def is_compiled(asked: bool | str, device: torch.device) -> bool:
    """Settle ``hardware.compile``: ``auto`` is a GPU that Triton supports (Ampere and later) with a compiler at hand.

    Triton builds a small C module when it first meets a machine; on a CPU the kernels themselves are C++. There
    ``auto`` is no: nine tenths of a step are oneDNN's convolutions, compiled or not.

    Raises:
        HardwareError: compiling is asked for where there is no compiler.
    """
    if asked not in ("auto", True, False):
        raise HardwareError(f"hardware.compile={asked} is none of auto, true, false")
    if asked is False or (asked == "auto" and not (device.type == "cuda" and gpu_has_bf16())):
        return False
    missing = _missing_to_compile(device)
    if missing and asked is True:
        raise HardwareError(f"hardware.compile=true needs {missing}: install it, or leave hardware.compile=auto")
    return not missing


def _missing_to_compile(device: torch.device) -> str:
    """What `torch.compile` lacks here, in words; empty when it lacks nothing."""
    if device.type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        return "" if shutil.which(compiler) else f"the C++ compiler {compiler}"
    if importlib.util.find_spec("triton") is None:
        return "Triton"
    compilers = (os.environ.get("CC", "gcc"), "clang")
    return "" if any(map(shutil.which, compilers)) else f"the C compiler {' or '.join(compilers)}"


def gpu_has_bf16() -> bool:
    """Whether the first GPU has native bf16 (Ampere, compute capability 8.0, and later)."""
    return torch.cuda.get_device_capability(0) >= (8, 0)


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bf16 natively (AVX512-BF16 or AMX); emulated bf16 is slower than fp32."""
    if not cpuinfo.exists():  # not Linux: no way to ask that needs no private API
        return False
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))
