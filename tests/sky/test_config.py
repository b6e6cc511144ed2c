"""Survey configs: the shipped ones are what they claim, impossible ones are refused in a sentence."""

import pytest

from dark_halo_scope.sky.priors import Grid, SurveyConfigError, Uniform
from tests.sky.surveys import CONFIGS, survey_config, tiny_config


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_shipped_configs_compose(name):
    assert survey_config(name).number_of_stamps > 200


def test_default_survey_supports_the_operating_points_of_the_report():
    config = survey_config()
    controls = config.regions["test"] * config.stamps_per_region // 2
    assert controls * (1 - 0.25 * config.defect_fraction) >= 1000
    assert config.regions["test"] >= 25


def test_upstream_grid_is_the_upstream_grid():
    config = survey_config("upstream_grid")
    assert config.injections.theta_e_arcsec == Grid([0.3, 0.6, 1.0])
    assert config.injections.src_dmag == Grid([-2, -1, 0, 1, 2])
    assert config.injections.lens_models == ("SIE", "SIS")
    assert config.regions["train"] / config.number_of_regions == pytest.approx(0.8)
    assert config.stamps_per_region // 2 % 30 == 0


INJECTIONS = {
    "_target_": "dark_halo_scope.sky.injection.InjectionPriors",
    "lens_models": ["SIE"],
    "theta_e_arcsec": {"_target_": "dark_halo_scope.sky.priors.Uniform", "low": 1.0, "high": 2.0},
    "src_dmag": {"_target_": "dark_halo_scope.sky.priors.Uniform", "low": 3.0, "high": 4.0},
    "src_reff_arcsec": {"_target_": "dark_halo_scope.sky.priors.Uniform", "low": 0.2, "high": 0.3},
    "src_sersic": {"_target_": "dark_halo_scope.sky.priors.Uniform", "low": 1.0, "high": 1.0},
    "max_offset": 0.5,
}


def grid(*values):
    return {"_target_": "dark_halo_scope.sky.priors.Grid", "values": list(values)}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"seed": -1}, "seed must not be negative"),
        ({"regions": {"train": 1, "val": 1}}, "regions must give a number"),
        ({"regions": {"train": 1, "val": 0, "test": 1}}, "val has 0"),
        ({"stamps_per_region": 7}, "must be even"),
        ({"regions_per_file": 0}, "regions_per_file"),
        ({"control_mix": {"plain": 0.5, "galaxy": 0.5}}, "names 'galaxy'; the kinds are plain, blue_neighbour"),
        ({"control_mix": {"plain": 0.5, "ring": 0.4}}, "add up to 0.9"),
        ({"control_mix": {"plain": 1.5, "ring": -0.5}}, "fractions >= 0"),
        ({"control_mix": {}}, "add up to 0"),
        ({"defect_fraction": 1.0}, "defect_fraction must lie in"),
        ({"artefact_fraction": -0.1}, "artefact_fraction must lie in"),
        ({"injections": INJECTIONS | {"lens_models": ["NFW"]}}, "lens_models must name some of"),
        ({"injections": INJECTIONS | {"lens_models": []}}, "lens_models must name some of"),
        ({"injections": INJECTIONS | {"theta_e_arcsec": grid(0.0, 1.0)}}, "theta_e_arcsec must be positive"),
        ({"injections": INJECTIONS | {"src_reff_arcsec": grid(0.01)}}, "not resolved"),
        ({"injections": INJECTIONS | {"src_sersic": grid(4.0)}}, "src_sersic must lie"),
        ({"injections": INJECTIONS | {"max_offset": 1.0}}, "max_offset must lie"),
    ],
)
def test_impossible_surveys_are_refused(overrides, sentence):
    with pytest.raises(Exception, match=sentence) as refused:
        tiny_config(**overrides)
    # Hydra wraps what a constructor raises; what it wraps is the error of the domain
    assert isinstance(refused.value, SurveyConfigError) or isinstance(refused.value.__cause__, SurveyConfigError)


def test_impossible_priors_are_refused():
    with pytest.raises(SurveyConfigError, match="low <= high"):
        Uniform(2.0, 1.0)
    with pytest.raises(SurveyConfigError, match="at least one value"):
        Grid([])


def test_equal_configs_have_equal_digests_and_others_do_not():
    assert tiny_config().digest() == tiny_config().digest()
    assert len({tiny_config().digest(), tiny_config(seed=5).digest(), tiny_config(defect_fraction=0).digest()}) == 3
