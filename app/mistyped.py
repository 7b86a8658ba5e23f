"""Variables that look like settings and are none: a typo must not pass for a setting that was made."""

import difflib
import re
from collections.abc import Iterable, Mapping

from app.settings import ADDRESS_OF_SERVICE, InvalidSettings, Settings

_PREFIX = "FUSEBOX_"
_OF_CLIENTS = ("FUSEBOX_URL", "FUSEBOX_KEY")  # of fusebox-client, on the same machine
# What Kubernetes and container links tell of a service that is called fusebox, or fusebox-anything.
_OF_SERVICES = re.compile(
    r"FUSEBOX_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_NEAR = 0.7

# Who may use the service, and what an upload may do: not to have set one of these is worse than not to start.
_OF_THE_BOUNDARY = frozenset(
    {"AUTH", "API_KEYS", "API_KEYS_FILE", "ALLOWED_HOSTS", "TRUSTED_PROXIES", "PUBLIC_URL", "HOST"}
    | {"SANDBOX", "ALLOWED_GLOBALS"}
)


def unknown_names(environ: Mapping[str, str]) -> list[str]:
    """Variables that begin as settings do, and are neither one nor somebody else's."""
    return sorted(name for name, value in environ.items() if _is_ours(name) and not _is_known(name.upper(), value))


def check_names(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each that is ignored. Raises InvalidSettings where one seems to be meant that guards the service.

    Values are not repeated: a key may stand in a variable of the wrong name.
    """
    warnings = []
    for name in unknown_names(environ):
        meant = _nearest(name, _settings())
        if meant in _OF_THE_BOUNDARY:
            raise InvalidSettings(
                f"{name} is no setting; {_PREFIX}{meant} is one, and guards the service. Correct the name, or unset it"
            )
        instead = f"; {_PREFIX}{meant} is one" if meant else ""
        warnings.append(f"{name} is no setting, and is ignored{instead}")
    return warnings


def _settings() -> list[str]:
    return [name.upper() for name in Settings.model_fields]


def _is_ours(name: str) -> bool:
    # Not every tool minds a hyphen in a name.
    return name.upper().replace("-", "_").startswith(_PREFIX)


def _is_known(name: str, value: str) -> bool:
    if name in _OF_CLIENTS or name.removeprefix(_PREFIX) in _settings() or _OF_SERVICES.fullmatch(name):
        return True
    return name.endswith("_PORT") and ADDRESS_OF_SERVICE.match(value) is not None


def _nearest(name: str, known: Iterable[str]) -> str:
    bare = name.upper().replace("-", "_").removeprefix(_PREFIX)
    return next(iter(difflib.get_close_matches(bare, known, 1, _NEAR)), "")
