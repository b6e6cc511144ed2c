"""A template and its values to one self-contained page, or to a text."""

from collections.abc import Callable, Mapping
from typing import Any

import jinja2

from dark_halo_scope.pages.wording import FILTERS


def render_page(
    room: str, template: str, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any
) -> str:
    """Fill a template that lies in the package of its room, such as `dark_halo_scope.evaluation`.

    Args:
        room: package that holds the template; one of a page extends ``base.html.j2``.
        template: name of the file.
        filters: what the template needs beyond the filters of `pages.wording`.
        values: what it shows; a name that is missing is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(room, "."), jinja2.PackageLoader("dark_halo_scope.pages", ".")]
        ),
        autoescape=template.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS | dict(filters or {})
    return environment.get_template(template).render(**values)
