"""A review as a page and as Markdown."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS, UNMEASURED
from dark_halo_scope.audit.page import SYMBOLS
from dark_halo_scope.pages.page import render_page
from dark_halo_scope.review.answers import SECTIONS, Answer

_GRAVEST_FIRST = (FAIL, CONCERN, UNMEASURED, PASS)


def render_html(record: Mapping[str, Any], answers: Sequence[Answer]) -> str:
    """The page for ``record``, the content of ``review.json``."""
    return render_page(
        "dark_halo_scope.review",
        "review.html.j2",
        {"sentence": sentence, "figure": Markup, "link": _link(record), "shown": _shown},
        review=record,
        issues=_issues(answers),
        sections=_by_section(answers),
        names=SECTIONS,
        symbols=SYMBOLS,
    )


def render_markdown(record: Mapping[str, Any], answers: Sequence[Answer]) -> str:
    """The same in Markdown, without the plots."""
    data, link = record["data"], _link(record)
    lines = [
        f"# Review of {record['run']}: {record['verdict']}",
        "",
        f"Data: `{data['root']}` ({data['fingerprint'][:12]}). Checkpoint: `{record['checkpoint_sha256'][:12]}`. "
        f"Scores: `{record['scores_sha256'][:12]}`.",
        "",
        "## Issues, the critical ones first",
        "",
        *([f"- {_in_words(answer)}" for answer in _issues(answers)] or ["None."]),
    ]
    for key, members in _by_section(answers).items():
        lines += ["", f"## {key}. {SECTIONS[key]}"]
        for answer in members:
            critical = ", critical" if answer.critical else ""
            lines += ["", f"### {answer.number}. {answer.title}", "", f"**{answer.verdict}**{critical}", ""]
            for check in answer.checks:
                source = f" [{_shown(check.source)}]({link(check.source)})" if check.source else ""
                lines.append(f"- *{check.verdict}* · **{check.name}**: {sentence(check.finding)}{source}")
                remedy, command = check.to_do
                lines += [f"  - To do: {sentence(remedy)}"] if remedy else []
                lines += [f"  - `{command}`"] if command else []
    return "\n".join(lines) + "\n"


def sentence(text: str) -> str:
    """With a capital and a full stop; a first word that is code stays as it is."""
    first = text.split(" ", 1)[0].rstrip(":;,")
    capital = text[:1].upper() + text[1:] if first.replace("-", "").isalpha() else text
    return capital if capital.endswith((".", "?")) else f"{capital}."


def _link(record: Mapping[str, Any]) -> Callable[[str], str]:
    """From a source, seen from the run folder, to a path seen from the page."""
    return lambda source: os.path.normpath(os.path.join(record["folder_from_here"], source))


def _shown(source: str) -> str:
    """A source without the way out of the run folder."""
    return "/".join(part for part in Path(source).parts[-3:] if part != "..")


def _issues(answers: Sequence[Answer]) -> list[Answer]:
    """Answers that fail, critical ones first, then those that give concern; the sum of them is not one more."""
    grave = [answer for answer in answers if answer.verdict in (FAIL, CONCERN) and answer.number != 25]
    return sorted(grave, key=lambda a: (_GRAVEST_FIRST.index(a.verdict), not a.critical, a.number))


def _by_section(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    return {key: [answer for answer in answers if answer.section == key] for key in SECTIONS}


def _in_words(answer: Answer) -> str:
    critical = "critical, " if answer.critical else ""
    found = "; ".join(f"{check.name}: {check.finding}" for check in answer.with_verdict(answer.verdict))
    return f"**{answer.number}. {answer.title}** ({critical}{answer.verdict}): {sentence(found)}"
