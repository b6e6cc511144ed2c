import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dark_halo_scope.bases.canonical import ABSENT, CanonicalError, canonical_json, content_key, differences, plain
from dark_halo_scope.bases.spec import BaseSpec, EarlyStop, SpecError, SplitSpec, difference
from tests.bases.specs import FIELDS, base_spec

NAMES = st.text("ab_ \u00eb\u0308\u4e09\U0001f52d0", min_size=1, max_size=3)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(NAMES, LEAVES, max_size=2)
NODES = st.dictionaries(NAMES, VALUES, max_size=2)
FEW = settings(max_examples=40, deadline=None, derandomize=True)
SPECS = st.builds(
    BaseSpec,
    data_fingerprint=st.text("0123456789abcdef", min_size=64, max_size=64),
    preprocessing=NODES,
    groups=st.lists(NAMES, min_size=1, max_size=5, unique=True).map(tuple),
    split=st.builds(SplitSpec, val_fraction=st.floats(0.05, 0.9), seed=st.integers(0, 9), by=NAMES),
    model=NODES,
    optimizer=NODES,
    scheduler=NODES,
    loss=NODES,
    augmentation=st.none() | NODES,
    batch_size=st.integers(1, 4096),
    max_epochs=st.integers(1, 1000),
    early_stop=st.none()
    | st.builds(EarlyStop, metric=NAMES, mode=st.sampled_from(["max", "min"]), patience=st.integers(1, 9)),
    precision=NAMES,
    seed=st.integers(0, 2**32),
    recipe_version=st.integers(1, 9),
)


@FEW
@given(SPECS, SPECS)
def test_two_specs_share_a_key_only_if_nothing_differs(one, other):
    assert (one.key() == other.key()) == (difference(one, other) == []) == (one.to_json() == other.to_json())


@FEW
@given(st.data(), SPECS, SPECS)
def test_a_change_of_any_field_changes_the_key(data, one, other):
    names = [f.name for f in dataclasses.fields(BaseSpec) if f.name != "schema"]
    name = data.draw(st.sampled_from(names))
    changed = dataclasses.replace(one, **{name: getattr(other, name)})
    told = difference(one, changed)
    assert (changed.key() != one.key()) == bool(told)
    assert all(path.split(".")[0].split("[")[0] == name for path, _, _ in told)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_fingerprint", "e" * 64),
        ("preprocessing", FIELDS["preprocessing"] | {"clip": 10.5}),
        ("groups", ("p01", "p02")),
        ("split", SplitSpec(0.25, 7, "session")),
        ("split", SplitSpec(0.2, 8, "session")),
        ("split", SplitSpec(0.2, 7, "region_id")),
        ("model", FIELDS["model"] | {"dropout": 0.2}),
        ("optimizer", FIELDS["optimizer"] | {"betas": [0.999, 0.9]}),
        ("scheduler", FIELDS["scheduler"] | {"floor_lr": 0}),
        ("loss", {"label_smoothing": 0.0, "class_weighting": "balanced"}),
        ("augmentation", None),
        ("augmentation", {"jitter": True}),
        ("batch_size", 128),
        ("max_epochs", 21),
        ("early_stop", None),
        ("early_stop", EarlyStop("val/accuracy", "min", 5)),
        ("early_stop", EarlyStop("val/loss", "max", 5)),
        ("early_stop", EarlyStop("val/loss", "min", 6)),
        ("precision", "bf16-mixed"),
        ("seed", 2),
        ("recipe_version", 2),
    ],
)
def test_each_field_is_part_of_the_key(name, value):
    changed = base_spec(**{name: value})
    assert changed.key() != base_spec().key()
    assert {path.split(".")[0].split("[")[0] for path, _, _ in difference(base_spec(), changed)} == {name}


@FEW
@given(SPECS, st.randoms(use_true_random=False))
def test_order_and_spelling_do_not_change_the_key(spec, random):
    groups = list(spec.groups)
    random.shuffle(groups)
    respelt = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)} | {"groups": tuple(groups)}
    for name in ("preprocessing", "model", "optimizer", "scheduler", "loss"):
        respelt[name] = shuffled(respelt[name], random)
    assert BaseSpec(**respelt).key() == spec.key()


def shuffled(value, random):
    """The same content: keys in another order, whole numbers as floats, lists as tuples."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    if isinstance(value, list):
        return tuple(shuffled(item, random) for item in value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return random.choice([int, float, np.float64])(value)
    return value


@FEW
@given(SPECS)
def test_a_spec_comes_back_from_json_with_its_key(spec):
    again = BaseSpec.from_json(spec.to_json())
    assert again == spec
    assert again.key() == spec.key() == content_key(json.loads(spec.to_json()))


@FEW
@given(VALUES)
def test_canonical_json_reads_back_to_the_same_text(value):
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    assert text.isascii()


def test_numbers_are_written_one_way():
    same = ["0.001", "1e-3", "1.0e-3", "0.1e-2"]
    assert len({canonical_json({"lr": float(text)}) for text in same}) == 1
    assert canonical_json([1.0, 1, -0.0, np.float64(2), 1e22]) == "[1,1,0,2,10000000000000000000000]"
    assert canonical_json([True, 1, "1", None, "null"]) == '[true,1,"1",null,"null"]'
    assert canonical_json(0.1 + 0.2) != canonical_json(0.3)


def test_text_is_kept_by_code_point():
    assert canonical_json("Zo\u00eb") == '"Zo\\u00eb"'
    assert base_spec(groups=("Zo\u00eb",)).key() != base_spec(groups=("Zoe\u0308",)).key()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, r"model\.dropout is nan: JSON knows no such number"),
        (-math.inf, r"model\.dropout is -inf"),
        (np.float32(0.1), r"model\.dropout is a float32: only null"),
        (b"raw", r"model\.dropout is a bytes"),
        ([0, {1: 2}], r"model\.dropout\[1\] has the key 1: keys must be text"),
        (len, r"model\.dropout is a builtin_function_or_method"),
    ],
)
def test_what_has_no_canonical_form_is_refused(value, message):
    with pytest.raises(CanonicalError, match=message):
        base_spec(model={"dropout": value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": ()}, "at least one base group; the mode target_only needs no base model"),
        ({"groups": ("p01", "p02", "p01")}, "named twice: p01"),
        ({"groups": "p01"}, "one text: give a list"),
        ({"model": {"weights": "/data/resnet18.pth"}}, r"model\.weights=/data/resnet18\.pth is a path"),
        ({"model": {"weights": ["s3://bucket/resnet18.pth"]}}, r"model\.weights\[0\]=s3://.* is a path"),
        ({"optimizer": {"lr": "${recipe.lr}"}}, r"optimizer\.lr=\$\{recipe\.lr\} is not settled"),
        ({"loss": {"name": "???"}}, r"loss\.name=\?\?\? is not settled"),
        ({"batch_size": 0}, "batch_size=0 must be a whole number of at least 1"),
        ({"max_epochs": 1.5}, "max_epochs=1.5 must be a whole number"),
        ({"batch_size": True}, "batch_size=True must be a whole number"),
        ({"seed": -1}, "seed=-1 must be a whole number of at least 0"),
        ({"precision": "auto"}, "precision=auto is another one on another machine"),
        ({"data_fingerprint": ""}, "data_fingerprint is empty"),
        ({"split": SplitSpec(0, 1, "session")}, "early_stop watches val/loss, but split.val_fraction=0 leaves nothing"),
        ({"schema": 2}, "of schema 2, but this version reads base models of schema 1"),
    ],
)
def test_what_is_not_determined_is_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        base_spec(**changes)


def test_parts_are_checked():
    with pytest.raises(SpecError, match=r"early_stop\.mode='best' is unknown; use max or min"):
        EarlyStop("val/loss", "best", 5)
    with pytest.raises(SpecError, match=r"early_stop\.patience=0"):
        EarlyStop("val/loss", "min", 0)
    with pytest.raises(SpecError, match=r"split\.val_fraction=1 must be at least 0 and less than 1"):
        SplitSpec(1.0, 0, "session")
    with pytest.raises(SpecError, match="no description of a base model: colour is missing, or one too many"):
        BaseSpec.from_dict({**base_spec().to_dict(), "colour": 1})


def test_nodes_of_a_config_are_taken_as_they_are():
    config = OmegaConf.create({"lr": 0.001, "optimizer": {"lr": "${lr}", "betas": [0.9, 0.999]}})
    held = base_spec(optimizer=config.optimizer)
    assert held.optimizer == {"betas": [0.9, 0.999], "lr": 0.001}
    assert held.key() == base_spec(optimizer={"lr": 1e-3, "betas": (0.9, 0.999)}).key()


def test_a_spec_does_not_change_with_what_it_was_made_of():
    node = {"dropout": 0.1}
    held = base_spec(model=node)
    key = held.key()
    node["dropout"] = 0.5
    assert held.key() == key


def test_the_key_is_the_hash_of_one_text():
    """Another text for the same content would let every store be trained again."""
    text = (
        '{"augmentation":{"jitter":0.05},"batch_size":64,"data_fingerprint":"' + "f" * 64 + '",'
        '"early_stop":{"metric":"val/loss","mode":"min","patience":5},"groups":["p01","p02","p03"],'
        '"loss":{"class_weighting":"none","label_smoothing":0},"max_epochs":20,'
        '"model":{"_target_":"dark_halo_scope.networks.small_cnn.SmallCNN","dropout":0.1},'
        '"optimizer":{"_partial_":true,"_target_":"torch.optim.AdamW","betas":[0.9,0.999],"lr":0.001},'
        '"precision":"32-true",'
        '"preprocessing":{"_target_":"dark_halo_scope.transforms.normalise.MadClip","clip":10},"recipe_version":1,'
        '"scheduler":{"_partial_":true,"_target_":"dark_halo_scope.tasks.schedule.warmup_cosine","floor_lr":1e-06},'
        '"schema":1,"seed":1,"split":{"by":"session","seed":7,"val_fraction":0.2}}'
    )
    assert base_spec().key() == hashlib.sha256(text.encode()).hexdigest()


def test_a_difference_names_path_and_both_values():
    other = base_spec(groups=("p01", "p03", "p04"), augmentation=None, model={"_target_": "my.Network"}, seed=2)
    assert difference(base_spec(), other) == [
        ("augmentation", {"jitter": 0.05}, None),
        ("groups[p02]", "p02", ABSENT),
        ("groups[p04]", ABSENT, "p04"),
        ("model._target_", "dark_halo_scope.networks.small_cnn.SmallCNN", "my.Network"),
        ("model.dropout", 0.1, ABSENT),
        ("seed", 1, 2),
    ]
    assert differences({"a": [True]}, {"a": [1]}) == [("a", [True], [1])]
    assert differences({"bands": ["g", "r"]}, {"bands": ["r", "g"]}) == [("bands", ["g", "r"], ["r", "g"])]
    assert plain((1.0, "a"), "here") == [1, "a"]
