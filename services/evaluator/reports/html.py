"""A report as one HTML file that needs nothing else: style, script and items stand in it.

Its policy lets nothing in and nothing out: one style sheet and one script, known by their
digests. All that a model, a judge or a person wrote is escaped here or set as text by the script.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from services.evaluator.reports import wording
from services.evaluator.reports.answer_metrics import answer_table
from services.evaluator.reports.data import ReportData
from services.evaluator.reports.drawings import drawings_of
from services.evaluator.reports.measures import PLAIN, SHARE
from services.evaluator.reports.packing import pack
from services.evaluator.reports.views import view_of

PACKAGE = "services.evaluator.reports"
_STYLE = ("page.css", "figures.css", "items.css")
_SCRIPT = ("items.js", "filters.js", "detail.js", "browse.js")
"""In this order they are one module."""


def html_report(report: ReportData) -> bytes:
    """Return the page."""
    view = view_of(report)
    style, script = _asset(_STYLE), _asset(_SCRIPT)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            words=wording,
            PLAIN=PLAIN,
            SHARE=SHARE,
            view=view,
            run=report.run,
            results=report.results,
            drawings=drawings_of(view, report),
            table=answer_table(report.results),
            packed=pack(report.items),
            spec=report.spec.model_dump_json(
                indent=2, exclude={"questions", "openai"}, exclude_defaults=True
            ),
            style=Markup(style),  # noqa: S704 - a file of this package
            script=Markup(script),  # noqa: S704 - a file of this package
            policy=_policy(style, script),
        )
    )
    return page.encode()


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(names: tuple[str, ...]) -> str:
    folder = files(PACKAGE) / "assets"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _policy(style: str, script: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {_digest(style)}",
            f"script-src {_digest(script)}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
