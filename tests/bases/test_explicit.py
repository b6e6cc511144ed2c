import pytest
from omegaconf import OmegaConf

from dark_halo_scope.bases.explicit import NodeError, explicit
from tests.bases.specs import base_spec


class Block:
    def __init__(self, width: int, dropout: float = 0.0, activation: type = int, largest: float = float("inf")):
        self.width = width


def anything(depth: int = 3, **options: float) -> None:
    pass


BLOCK = f"{__name__}.Block"


def test_a_default_left_out_and_one_that_is_named_are_the_same_spec():
    short = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 3e-4}
    long = short | {"eps": 1e-8, "weight_decay": 0.01, "betas": [0.9, 0.999]}
    assert explicit(short, "optimizer") == explicit(long, "optimizer")
    keys = {base_spec(optimizer=explicit(node, "optimizer")).key() for node in (short, long)}
    assert len(keys) == 1
    assert base_spec(optimizer=explicit(short | {"eps": 1e-7}, "optimizer")).key() not in keys


def test_nodes_inside_are_filled_and_what_no_config_can_hold_stays_out():
    node = OmegaConf.create({"_target_": BLOCK, "width": 8, "dropout": {"_target_": BLOCK, "_args_": [4, 0.5]}})
    assert explicit(node, "model") == {
        "_target_": BLOCK,
        "width": 8,
        "dropout": {"_target_": BLOCK, "_args_": [4, 0.5]},
    }
    assert explicit({"blocks": [{"_target_": BLOCK, "width": 1}]}, "model") == {
        "blocks": [{"_target_": BLOCK, "width": 1, "dropout": 0}]
    }


def test_what_instantiates_alike_is_written_alike():
    node = {"_target_": BLOCK, "width": 8, "_convert_": "none", "_partial_": False, "_recursive_": True}
    assert explicit(node, "model") == {"_target_": BLOCK, "width": 8, "dropout": 0}
    assert explicit({"_target_": f"{__name__}.anything", "alpha": 1}, "loss") == {
        "_target_": f"{__name__}.anything",
        "alpha": 1,
        "depth": 3,
    }


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": BLOCK, "width": 1, "droput": 0.1}, "model: .*Block takes no droput; did you mean dropout"),
        ({"_target_": f"{__name__}.Blok"}, "model._target_=.*Blok cannot be looked up"),
        ({"_target_": "no.such.module"}, "model._target_=no.such.module cannot be looked up"),
    ],
)
def test_a_node_that_does_not_fit_is_refused(node, message):
    with pytest.raises(NodeError, match=message):
        explicit(node, "model")
