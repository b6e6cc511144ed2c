import math

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from dark_halo_scope.configuration import CONFIGS
from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.recommend import recommend
from dark_halo_scope.search.settings import check_space, read_settings
from dark_halo_scope.search.space import first_point, read_space
from tests.runs import composed

CONDITIONAL = {
    "model": "choice(resnet18, small_cnn)",
    "model.stem": {"space": "choice(3x3, imagenet)", "when": {"model": ["resnet18", "resnet34"]}},
}


def drawn(space, seed: int = 0) -> dict:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)).ask()
    return space.draw(trial)


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(0, 0.5)", optuna.distributions.FloatDistribution(0, 0.5)),
        ("tag(log, interval(1e-5, 1e-3))", optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True)),
        ("int(interval(1, 8))", optuna.distributions.IntDistribution(1, 8)),
        ("tag(log, int(interval(1, 8)))", optuna.distributions.IntDistribution(1, 8, log=True)),
        ("range(1, 10, 3)", optuna.distributions.IntDistribution(1, 7, step=3)),
        ("range(10, 1, -3)", optuna.distributions.IntDistribution(4, 10, step=3)),
        ("range(0, 1, 0.25)", optuna.distributions.FloatDistribution(0, 0.75, step=0.25)),
        ("choice(a, 2, 0.5, true)", optuna.distributions.CategoricalDistribution(["a", 2, 0.5, True])),
        ("1,null", optuna.distributions.CategoricalDistribution([1, None])),
        ("choice([1,2], 'x y')", optuna.distributions.CategoricalDistribution(["[1,2]", "x y"])),
    ],
)
def test_hydras_grammar(text: str, distribution: optuna.distributions.BaseDistribution):
    (parameter,) = read_space({"some.key": text}, []).parameters
    assert parameter.distribution == distribution


@given(st.floats(1e-6, 1e-2), st.floats(1.1, 1e3), st.integers(0, 10_000))
def test_a_draw_reads_back_as_the_value_it_was(low: float, ratio: float, seed: int):
    space = read_space({"optimizer.lr": f"tag(log, interval({low}, {low * ratio}))"}, [])
    values = drawn(space, seed)
    (word,) = space.overrides(values)
    assert OverridesParser.create().parse_override(word).value() == values["optimizer.lr"]
    assert low * 0.999 <= values["optimizer.lr"] <= low * ratio * 1.001


def test_a_conditional_parameter_is_drawn_where_its_condition_holds():
    space = read_space(CONDITIONAL, [])
    draws = [drawn(space, seed) for seed in range(20)]
    assert {tuple(draw) for draw in draws} == {("model", "model.stem"), ("model",)}
    assert all(("model.stem" in draw) == (draw["model"] == "resnet18") for draw in draws)
    assert space.grid() == [
        {"model": "resnet18", "model.stem": "3x3"},
        {"model": "resnet18", "model.stem": "imagenet"},
        {"model": "small_cnn"},
    ]


def test_the_command_line_settles_or_replaces_a_parameter():
    settled = read_space(CONDITIONAL, ["model=resnet34"])
    assert [p.name for p in settled.parameters] == ["model.stem"]
    assert set(drawn(settled)) == {"model.stem"}
    replaced = read_space(CONDITIONAL, ["model=resnet18,resnet34", "seed=1"])
    assert replaced.parameters[0].distribution.choices == ("resnet18", "resnet34")


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({}, "nothing to search"),
        ({"a": "3"}, "a: 3 is one value"),
        ({"a": "tag(log, interval(0, 1))"}, "a: tag(log, interval(0, 1)): "),
        ({"a": "tag(fast, interval(1, 2))"}, "has the tag fast; the only one known is log"),
        ({"a": {"space": "1,2", "when": {"b": 1}}}, "a depends on b, which is neither searched before it"),
        ({"a": {"space": "1,2"}}, "the space of a has the keys space: write space and when"),
    ],
)
def test_what_is_no_space_is_refused(space: dict, sentence: str):
    with pytest.raises(SearchError) as refusal:
        read_space(space, [])
    assert sentence in str(refusal.value)


def test_a_grid_of_an_interval_is_refused():
    with pytest.raises(SearchError, match=r"no room for a: interval\(0, 1\)"):
        read_space({"a": "interval(0, 1)"}, []).grid()


@pytest.mark.parametrize(
    "name", sorted(file.stem for file in (CONFIGS / "search_space").glob("*.yaml") if file.stem != "none")
)
def test_every_shipped_space_names_keys_of_the_config(name: str):
    cfg = composed("hparams_search=optuna", f"search_space={name}")
    space = read_space(cfg.search.space, [])
    for words in [space.overrides(first_point(space)), *(space.overrides(drawn(space, seed)) for seed in range(1))]:
        composed(*words)


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 2), ("sqrt", math.sqrt(2))])
def test_the_rate_follows_the_batch(rule: str, factor: float):
    settings = read_settings(composed("hparams_search=optuna", f"search.lr_scaling.rule={rule}"))
    tied = settings.tied({"optimizer.lr": 1e-4, "data.batch_size": 512})
    assert tied["optimizer.lr"] == pytest.approx(factor * 1e-4)


def test_tying_the_rate_needs_both_in_the_space():
    settings = read_settings(composed("hparams_search=optuna", "search.lr_scaling.rule=sqrt"))
    with pytest.raises(SearchError, match=r"needs data.batch_size in the search space"):
        check_space(settings, read_space({"optimizer.lr": "interval(0, 1)"}, []))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["hparams_search=two_objectives", "hparams_search/pruner=median"], "several objectives cannot be pruned"),
        (["hparams_search=two_objectives", "search.repeat.best=1"], "set search.repeat.best=0"),
        (["hparams_search=optuna", "search.lr_scaling.rule=cube"], "choose none, linear or sqrt"),
        (["hparams_search=optuna", "search.grace_s=30"], "must be longer than search.heartbeat_s=60"),
        ([], "no search is chosen"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides: list[str], sentence: str):
    with pytest.raises(SearchError) as refusal:
        read_settings(composed(*overrides))
    assert sentence in str(refusal.value)


def test_a_study_without_a_complete_trial_recommends_nothing():
    assert recommend(optuna.create_study()) == []
