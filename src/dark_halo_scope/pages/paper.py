"""Figures away from a page: as a file of their own, or in a notebook. There is no theme to follow: ink on paper."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files

POINT = 4 / 3  # CSS pixels
FIGURE_PX, TILE_PX = 360, 132  # as narrow as a notebook shows them


@cache
def _light_theme() -> dict[str, str]:
    """The variables of a page where the reader prefers light: name -> value."""
    template = files("dark_halo_scope.pages").joinpath("base.html.j2").read_text()
    root = template[template.index(":root {") : template.index("@media")]
    return {name: value.replace('"', "'") for name, value in re.findall(r"--(\w+): ([^;]+);", root)}


def on_paper(svg: str) -> str:
    """A figure of `pages.figures` as a file: fixed colours and fonts, its own size and background."""
    theme = _light_theme()
    svg = re.sub(r"var\(--(\w+)\)", lambda name: theme[name[1]], svg).replace("currentColor", theme["ink"])
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None
    width, height = (round(float(side) * POINT) for side in box.groups())
    style = f"background: {theme['paper']}; max-width: 100%; height: auto"
    return svg.replace("<svg", f'<svg width="{width}" height="{height}" style="{style}"', 1)


class Figures:
    """Figures in a notebook, beside each other where there is room; those that are None are left out."""

    def __init__(self, *svgs: str | None) -> None:
        self.svgs = [svg for svg in svgs if svg is not None]

    def _repr_html_(self) -> str:
        return _row(f'<div style="flex: 1 1 {FIGURE_PX}px; min-width: 0">{on_paper(svg)}</div>' for svg in self.svgs)


class Tiles:
    """Images in a notebook, each over its caption.

    Args:
        images: PNGs as data URIs.
        captions: as many.
    """

    def __init__(self, images: Sequence[str], captions: Sequence[str]) -> None:
        self.tiles = list(zip(images, captions, strict=True))

    def _repr_html_(self) -> str:
        picture = f"width: {TILE_PX}px; height: {TILE_PX}px; image-rendering: pixelated; border-radius: 4px; margin: 0"
        return _row(
            f'<figure style="margin: 0; width: {TILE_PX}px"><img style="{picture}" src="{image}" alt="">'
            f'<figcaption style="line-height: 1.35">{escape(caption)}</figcaption></figure>'
            for image, caption in self.tiles
        )


def _row(parts: Iterable[str]) -> str:
    theme = _light_theme()
    look = f"background: {theme['paper']}; color: {theme['ink']}; font: 12px {theme['sans']}; padding: 8px"
    inside = "".join(parts)
    return f'<div style="display: flex; flex-wrap: wrap; gap: 16px; {look}">{inside}</div>'
