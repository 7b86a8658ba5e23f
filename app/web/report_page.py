"""The report as one HTML file: styles, scripts and figures lie in it, and it asks nobody for anything."""

import base64
import hashlib
import json
from functools import cache

from markupsafe import Markup

from app.report import Report
from app.web.assets import text
from app.web.bundle import bundle
from app.web.templates import render

_STYLES = ("css/base.css", "css/report.css", "css/layers.css", "vendor/uplot/uPlot.min.css", "css/print.css")


def report_html(report: Report, snippet: str = "") -> str:
    """The file. `snippet` is the program that compares both models, shown with the report."""
    return render(
        "report.html",
        report=report,
        policy=report_policy(),
        style=Markup(_style()),
        plot=Markup(_plot()),
        script=Markup(_script()),
        content=Markup(_content(report, snippet)),
    )


@cache
def report_policy() -> str:
    """What a browser lets the file do: run the scripts that we wrote into it, draw, and nothing else."""
    scripts = " ".join(_hash(one) for one in (_plot(), _script()))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {_hash(_style())}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _content(report: Report, snippet: str) -> str:
    """JSON within HTML: no text of a file can end the element that it stands in."""
    content = json.dumps({"report": report.model_dump(mode="json"), "snippet": snippet}, separators=(",", ":"))
    return content.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _style() -> str:
    return "\n".join(text(name) for name in _STYLES)


@cache
def _plot() -> str:
    return text("vendor/uplot/uPlot.iife.min.js")


@cache
def _script() -> str:
    return bundle("js/report/standalone.js")


def _hash(inline: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"
