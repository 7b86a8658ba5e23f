"""The pages' HTML. Every value is escaped; a value that is missing is an error, not an empty place."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = _visible
    return environment


def _visible(name: str) -> str:
    """A name in which nothing goes unseen or turns the direction of writing, as `lib/visible.js` shows it."""
    return "".join(one if one.isprintable() else f"⟨U+{ord(one):04X}⟩" for one in name)


def render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(values)
