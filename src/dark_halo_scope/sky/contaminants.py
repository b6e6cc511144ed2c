"""What fools a lens finder: blue or curved light near a red galaxy that is not an arc.

Every contaminant but the star sits on a host of the common population, so that nothing but the contaminant itself
sets these controls apart. For the same reason they are 0 to 3.7 mag fainter than the host, as the magnified arcs of the
default survey are (0.1 to 2.7 mag for all but one in fifty). Artefacts fall on all stamps alike.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.sky.populations import (
    Floats,
    Hosts,
    draw_blue_galaxies,
    draw_source_colours,
    draw_stars,
    fluxes,
)
from dark_halo_scope.sky.scene import RING, SPIRAL, TRAIL, Scene, Table

Stamps = NDArray[np.int64]

PLAIN, STAR, ARTEFACT = "plain", "star", "artefact"


def _host_place(table: Table, hosts: Hosts, stamps: Stamps) -> None:
    table["stamp"], table["x"], table["y"] = stamps, hosts.light["x"][stamps], hosts.light["y"][stamps]


def _blue_fluxes(rng: np.random.Generator, mag_r: Floats) -> Floats:
    g_r, r_z = draw_source_colours(rng, len(mag_r))
    return fluxes(mag_r + g_r, mag_r, mag_r - r_z)


def _move(table: Table, distance: Floats, azimuth: Floats) -> None:
    table["x"] += distance * np.cos(azimuth)
    table["y"] += distance * np.sin(azimuth)


def blue_neighbours(rng: np.random.Generator, hosts: Hosts, stamps: Stamps) -> Scene:
    """One to three blue galaxies at arc-like distances, but not arranged or sheared as images are."""
    scene = Scene.empty()
    owner = np.repeat(stamps, rng.choice([1, 2, 3], len(stamps), p=[0.5, 0.35, 0.15]))
    scene.sersics = draw_blue_galaxies(rng, owner, hosts.magnitudes[owner, 1] + rng.uniform(1.0, 3.7, len(owner)))
    scene.sersics["x"], scene.sersics["y"] = hosts.light["x"][owner], hosts.light["y"][owner]
    _move(scene.sersics, rng.uniform(0.8, 4.0, len(owner)), rng.uniform(0, 2 * np.pi, len(owner)))
    return scene


def spirals(rng: np.random.Generator, hosts: Hosts, stamps: Stamps) -> Scene:
    """A blue disc with arms, face-on or inclined by up to 53 degrees, around the red host, which becomes its bulge."""
    scene, count = Scene.empty(), len(stamps)
    disc = np.zeros(count, SPIRAL)
    _host_place(disc, hosts, stamps)
    disc["reff"] = rng.uniform(1.6, 3.6, count)
    disc["axis_ratio"] = rng.uniform(0.6, 1.0, count)
    disc["angle"] = rng.uniform(0, np.pi, count)
    disc["pitch"] = np.deg2rad(rng.uniform(10, 28, count)) * rng.choice([-1, 1], count)
    disc["phase"] = rng.uniform(0, 2 * np.pi, count)
    disc["arms"] = rng.choice([2, 2, 3, 4], count)
    disc["arm_contrast"] = rng.uniform(1.5, 3.0, count)
    disc["flux"] = _blue_fluxes(rng, hosts.magnitudes[stamps, 1] + rng.uniform(0.0, 2.0, count))
    scene.spirals = disc
    return scene


def rings(rng: np.random.Generator, hosts: Hosts, stamps: Stamps) -> Scene:
    """A detached clumpy blue ring, as around Hoag-type and collisional ring galaxies."""
    scene, count = Scene.empty(), len(stamps)
    ring = np.zeros(count, RING)
    _host_place(ring, hosts, stamps)
    ring["radius"] = rng.uniform(1.8, 5.0, count)
    ring["width"] = rng.uniform(0.12, 0.25, count) * ring["radius"]
    ring["axis_ratio"] = rng.uniform(0.55, 1.0, count)
    ring["angle"] = rng.uniform(0, np.pi, count)
    ring["window_angle"] = rng.uniform(0, 2 * np.pi, count)
    ring["window_width"] = rng.uniform(2.0, 5.0, count)
    ring["clumps"] = rng.integers(3, 8, count)
    ring["clump_contrast"] = rng.uniform(0.1, 0.6, count)
    ring["flux"] = _blue_fluxes(rng, hosts.magnitudes[stamps, 1] + rng.uniform(0.6, 2.4, count))
    scene.rings = ring
    return scene


def mergers(rng: np.random.Generator, hosts: Hosts, stamps: Stamps) -> Scene:
    """A second nucleus, 0.3 to 2.5 mag fainter, and a curved tidal tail that does not centre on the host."""
    scene, count = Scene.empty(), len(stamps)
    azimuth = rng.uniform(0, 2 * np.pi, count)
    companion = hosts.light[rng.permutation(stamps)]
    companion["flux"] = hosts.light["flux"][stamps] * 10 ** (-0.4 * rng.uniform(0.3, 2.5, count))[:, None]
    _host_place(companion, hosts, stamps)
    companion["reff"] *= rng.uniform(0.4, 0.9, count)
    _move(companion, rng.uniform(1.0, 4.0, count), azimuth)
    scene.sersics = companion
    tail = np.zeros(count, RING)
    _host_place(tail, hosts, stamps)
    tail["radius"] = rng.uniform(2.0, 5.0, count)
    tail["width"] = rng.uniform(0.3, 0.7, count)
    tail["axis_ratio"] = rng.uniform(0.6, 1.0, count)
    tail["angle"] = rng.uniform(0, np.pi, count)
    tail["window_angle"] = azimuth + rng.normal(0, 0.6, count)
    tail["window_width"] = rng.uniform(0.35, 0.8, count)
    _move(tail, rng.uniform(0.5, 0.9, count) * tail["radius"], azimuth + np.pi + rng.normal(0, 0.5, count))
    tail["flux"] = _blue_fluxes(rng, hosts.magnitudes[stamps, 1] + rng.uniform(1.5, 3.5, count))
    scene.rings = tail
    return scene


def edge_on_discs(rng: np.random.Generator, hosts: Hosts, stamps: Stamps) -> Scene:
    """A thin disc beside the host, half of them lying across the line to it as an arc would."""
    scene, count = Scene.empty(), len(stamps)
    disc = draw_blue_galaxies(rng, stamps, hosts.magnitudes[stamps, 1] + rng.uniform(0.8, 3.0, count))
    _host_place(disc, hosts, stamps)
    azimuth = rng.uniform(0, 2 * np.pi, count)
    _move(disc, rng.uniform(1.2, 4.5, count), azimuth)
    disc["n"], disc["axis_ratio"] = 1.0, rng.uniform(0.12, 0.28, count)
    disc["reff"] = rng.uniform(0.4, 0.9, count)
    tangential = rng.random(count) < 0.5
    disc["angle"] = np.where(tangential, azimuth + np.pi / 2 + rng.normal(0, 0.3, count), rng.uniform(0, np.pi, count))
    scene.sersics = disc
    return scene


CONTAMINANTS: dict[str, Callable[[np.random.Generator, Hosts, Stamps], Scene]] = {
    "blue_neighbour": blue_neighbours,
    "spiral": spirals,
    "ring": rings,
    "merger": mergers,
    "edge_on": edge_on_discs,
}
CONTROL_KINDS = (PLAIN, *CONTAMINANTS, STAR)


def replace_by_stars(rng: np.random.Generator, hosts: Hosts, stamps: Stamps) -> None:
    """Turn the hosts of ``stamps`` into stars of the same r magnitude, in place."""
    stars = draw_stars(rng, stamps, hosts.magnitudes[stamps, 1])
    stars["x"], stars["y"] = hosts.light["x"][stamps], hosts.light["y"][stamps]
    hosts.light[stamps] = stars
    hosts.magnitudes[stamps] = 22.5 - 2.5 * np.log10(stars["flux"])


def artefacts(rng: np.random.Generator, stamps: Stamps) -> Scene:
    """A streak in a single band: half of them satellites crossing the stamp, half short cosmic-ray tracks."""
    scene, count = Scene.empty(), len(stamps)
    trail = np.zeros(count, TRAIL)
    trail["stamp"] = stamps
    trail["x"], trail["y"] = rng.uniform(-5, 5, (2, count))
    trail["angle"] = rng.uniform(0, np.pi, count)
    satellite = rng.random(count) < 0.5
    trail["length"] = np.where(satellite, 60.0, rng.uniform(0.8, 3.0, count))
    trail["width"] = 0.3
    brightness = np.where(satellite, rng.uniform(19.5, 21.5, count), rng.uniform(20.5, 23.0, count))
    trail["flux"][np.arange(count), rng.integers(0, 3, count)] = 10 ** (0.4 * (22.5 - brightness))
    scene.trails = trail
    return scene
