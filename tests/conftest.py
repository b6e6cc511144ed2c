"""Shared by all tests: one thread for tiny models, torchvision beside any torch, nothing that leaves the machine."""

import os

import dark_halo_scope.torchvision_ops  # noqa: F401

import torch

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
torch.set_num_threads(1)
