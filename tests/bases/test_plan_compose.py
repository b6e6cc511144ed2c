"""Composing quickly gives what Hydra gives, whatever is overridden."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dark_halo_scope.bases.compose import SweepLoader
from dark_halo_scope.configuration import CONFIGS, register_resolvers

WORDS = [
    ("model=small_cnn", "model=resnet34"),
    ("model.dropout=0.1", "model={dropout: 0.2}"),
    ("model.dropout=0.3", "model={dropout: 0.4}"),
    ("experiment=lens_small_cnn", "experiment=null"),
    ("seed=1", "seed=2", "seed=null"),
    ("optimizer.lr=1e-3", "optimizer.lr=${seed}", "optimizer.lr='a b, [c]'"),
    ("data.root='s3://a/b=c'", "data.root=/x y"),
    ("monitor={metric: val/loss, mode: min}", "monitor.metric=val/ap"),
    ("trainer.limit_val_batches=0.5", "++trainer.limit_val_batches=2"),
    ("+added.here=[1, 2]", "+logger@other=csv"),
    ("~callbacks.heartbeat", "callbacks.heartbeat.every_s=3"),
]


@pytest.fixture(scope="module")
def loaders():
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        plain = GlobalHydra.instance().config_loader()
        master = plain.load_configuration("train", ["hydra.job.name=x", "seed=3"], RunMode.MULTIRUN)
        yield plain, SweepLoader(plain), master


def outcome(loader, master, words):
    try:
        config = loader.load_sweep_config(master, list(words))
    except (HydraException, ValueError) as error:
        return type(error), str(error)
    return OmegaConf.to_yaml(config), OmegaConf.is_struct(config), OmegaConf.is_readonly(config.hydra)


@given(st.tuples(*(st.sampled_from([None, None, *choices]) for choices in WORDS)))
@settings(max_examples=5, deadline=None, phases=[Phase.generate])  # each composes twice: no time to shrink
def test_it_is_hydras(loaders, words):
    plain, quick, master = loaders
    given_words = [word for word in words if word]
    assert outcome(quick, master, given_words) == outcome(plain, master, given_words)


def test_hydra_itself_is_asked_once_for_each_choice(loaders):
    _, quick, master = loaders
    for seed in range(30):
        config = quick.load_sweep_config(master, [f"model={('small_cnn', 'resnet18')[seed % 2]}", f"seed={seed}"])
        assert config.seed == seed
        assert config.hydra.overrides.task[-1] == f"seed={seed}"
    assert len([key for key in quick._shared if key[-1] in ("model=small_cnn", "model=resnet18")]) == 2


def test_what_is_added_for_all_costs_nothing(loaders):
    plain, quick, master = loaders
    n_before = len(quick._shared)
    for seed in range(20):
        words = ["+trainer.deterministic=true", f"seed={seed}", "~callbacks.heartbeat"]
        config = quick.load_sweep_config(master, words)
    assert OmegaConf.to_yaml(config) == OmegaConf.to_yaml(plain.load_sweep_config(master, words))
    assert len(quick._shared) == n_before + 1


@pytest.mark.parametrize("words", [["seeed=1"], ["model=no_such"], ["seed=1,2"], ["+seed=1"], ["paths.no.such=1"]])
def test_errors_are_hydras(loaders, words):
    plain, quick, master = loaders
    with pytest.raises(HydraException) as quickly:
        quick.load_sweep_config(master, words)
    with pytest.raises(HydraException) as slowly:
        plain.load_sweep_config(master, words)
    assert (type(quickly.value), str(quickly.value)) == (type(slowly.value), str(slowly.value))
