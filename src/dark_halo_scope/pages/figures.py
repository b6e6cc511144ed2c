"""Figures as inline SVG that follow the reader's light or dark theme.

Matplotlib draws with placeholder colours, which are then replaced by CSS variables of the page. Lenses are
blue and controls orange (Okabe & Ito palette, safe for colour-blind readers), told apart by line style or
hatching too.
"""

import io
import re
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TEXT, GRID, LENS, CONTROL = "#010101", "#020202", "#030303", "#040404"
_CSS = {TEXT: "currentColor", GRID: "var(--grid)", LENS: "var(--lens)", CONTROL: "var(--control)"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": TEXT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}

house_style = mpl.rc_context(_STYLE)  # decorates a function that draws


def new_axes() -> tuple[Figure, Axes]:
    """One plot of the size that two columns of a page take."""
    figure = Figure(figsize=(5.4, 3.7), layout="constrained")
    return figure, figure.add_subplot()


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Serialise to an <svg> element whose ids are unique to `name`, with `description` for who cannot see it."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' width="[\d.]+pt"| height="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"font: ([\d.]+)px 'DejaVu Sans'[^;\"]*", r"font: \1px var(--sans)", svg)
    svg = re.sub(r'\bid="([\w.]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", svg)
    for placeholder, css in _CSS.items():
        svg = svg.replace(placeholder, css)
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
