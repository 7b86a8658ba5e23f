"""What wrappers and training code put before the names of a state dict."""

from collections.abc import Iterable, Iterator
from typing import Final

# Of torch's wrappers: never part of a model's own names where all names begin with them.
_WRAPPERS: Final = ("module.", "_orig_mod.")
# Of training code around a model; some models' own names begin so, too.
_HOLDERS: Final = ("model.", "net.", "network.", "backbone.", "encoder.", "generator.", "student.", "ema.")


def wrapper_prefix(names: Iterable[str]) -> str:
    """What torch's wrappers put before all of the names: `module.`, `_orig_mod.module.`, or nothing."""
    return _longest(list(names), _WRAPPERS)


def prefixes(names: Iterable[str]) -> Iterator[str]:
    """What may have been put before all of the names, the likeliest first; each is one that all names begin with."""
    listed = list(names)
    shortest = wrapper_prefix(listed)
    yield shortest
    prefix = shortest
    while longer := _next(listed, prefix, (*_WRAPPERS, *_HOLDERS)):
        prefix += longer
        yield prefix
    if shortest:
        yield ""


def _longest(names: list[str], known: tuple[str, ...]) -> str:
    prefix = ""
    while longer := _next(names, prefix, known):
        prefix += longer
    return prefix


def _next(names: list[str], prefix: str, known: tuple[str, ...]) -> str:
    """The one of the known parts that follows the prefix in all of the names."""
    return next((part for part in known if names and all(name.startswith(part, len(prefix)) for name in names)), "")
