"""The files that set up an environment say the same thing."""

import re
import tomllib

from omegaconf import OmegaConf
from packaging.requirements import Requirement

from dark_halo_scope.configuration import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PINS = dict(
    line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)
PINS = {name.lower().replace("_", "-"): version for name, version in PINS.items()}


def requirements() -> list[Requirement]:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in PROJECT["dependencies"] + extras]


def test_every_dependency_is_pinned_at_a_version_the_project_allows():
    for requirement in requirements():
        assert PINS[requirement.name] in requirement.specifier, requirement.name


def test_no_pin_carries_a_local_tag():
    assert not [pin for pin in PINS.values() if "+" in pin]


def test_conda_installs_this_project_at_these_pins():
    environment = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "environment.yml"))
    conda, (pip,) = environment["dependencies"][:-1], environment["dependencies"][-1].values()
    assert f"python{PROJECT['requires-python']}" in conda
    assert pip == ["--constraint constraints.txt", "--editable .[dev]"]


def test_the_readme_says_why_each_dependency_is_there():
    readme = (REPOSITORY / "README.md").read_text()
    for requirement in requirements():
        assert re.search(rf"^\| `{requirement.name}` \| \S.+\|$", readme, re.MULTILINE), requirement.name


def test_make_help_lists_every_target():
    makefile = (REPOSITORY / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    for target in phony.split():
        assert re.search(rf"^{target}:.* ## \S", makefile, re.MULTILINE), target
