"""What wrappers and training code put before the names of a state dict."""

from collections.abc import Iterable, Iterator
from typing import Final

# Of torch's wrappers: never part of a model's own names where all names begin with them.
_WRAPPERS: Final = ("module.", "_orig_mod.")
# Of training code around a model; some models' own names begin so, too.
_HOLDERS: Final = ("model.", "net.", "network.", "backbone.", "encoder.", "generator.", "student.", "ema.")
# Those that hold all of a model: what stands beside a backbone or an encoder is part of a larger one.
_WHOLE: Final = tuple(part for part in _HOLDERS if part not in ("backbone.", "encoder."))


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


def prefixes_of_some(names: Iterable[str]) -> Iterator[str]:
    """What may stand before a model's names alone, where others stand beside them: SWA's counter, a loss's weights."""
    listed = list(names)
    for part in (*_WRAPPERS, *_WHOLE):
        inside = [name.removeprefix(part) for name in listed if name.startswith(part)]
        if 0 < len(inside) < len(listed):
            yield from (part + longer for longer in prefixes(inside))


def _longest(names: list[str], known: tuple[str, ...]) -> str:
    prefix = ""
    while longer := _next(names, prefix, known):
        prefix += longer
    return prefix


def _next(names: list[str], prefix: str, known: tuple[str, ...]) -> str:
    """The one of the known parts that follows the prefix in all of the names."""
    return next((part for part in known if names and all(name.startswith(part, len(prefix)) for name in names)), "")
