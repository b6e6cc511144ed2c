from xml.etree import ElementTree

from dark_halo_scope.pages.figures import LENS, TEXT, house_style, new_axes, to_svg
from dark_halo_scope.pages.paper import Figures, Tiles, on_paper


@house_style
def figure():
    figure, axes = new_axes()
    axes.plot([0, 1], [0, 1], color=LENS)
    axes.axhline(0.5, color=TEXT)
    return to_svg(figure, "f", "a line")


def test_a_figure_on_paper_needs_no_page():
    svg = on_paper(figure())
    root = ElementTree.fromstring(svg)
    assert (root.get("width"), root.get("height")) == ("518", "355")  # 5.4 x 3.7 inches
    assert "var(" not in svg
    assert "currentColor" not in svg
    assert "#0069a8" in svg  # lenses, where the reader prefers light


def test_figures_that_there_are_not_are_left_out():
    assert Figures(figure(), None)._repr_html_().count("<svg") == 1


def test_a_caption_is_text():
    html = Tiles(["data:image/png;base64,AA=="], ["arc S/N < 2 & faint"])._repr_html_()
    assert "arc S/N &lt; 2 &amp; faint" in html
    assert html.count("<img") == 1
