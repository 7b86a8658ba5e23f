"""How the service is reached: URL, key, patience; the same for both clients."""

import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import httpx

from fusebox_client.problems import FuseboxError
from fusebox_client.talk.bounded import CODINGS
from fusebox_client.talk.patience import Patience

T = TypeVar("T")


class NoUrl(FuseboxError):
    """It is not said where the service is."""


class UnusableKey(FuseboxError):
    """The key is none that a header can hold."""


class UnusableUrl(FuseboxError):
    """The URL of the service, or of the proxy that the environment names, is none that can be used."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the service is and who asks."""

    url: str
    key: str | None = field(default=None, repr=False)
    patience: Patience = field(default_factory=Patience)
    verify: ssl.SSLContext | bool = True

    @classmethod
    def of(
        cls, url: str | None, key: str | None, patience: Patience | None, verify: ssl.SSLContext | bool
    ) -> "Connection":
        """What is not given comes from FUSEBOX_URL and FUSEBOX_KEY. Raises NoUrl, UnusableKey."""
        found = url or os.environ.get("FUSEBOX_URL", "")
        if not found.startswith(("http://", "https://")):
            what = f"The service's URL is {found!r}" if found else "The service's URL is not given"
            raise NoUrl(f"{what}: pass http://HOST:PORT, or set FUSEBOX_URL.")
        # Secrets are often stored with a line end.
        given = (key or os.environ.get("FUSEBOX_KEY", "")).strip()
        if re.search(r"[^!-~]", given):
            raise UnusableKey("The API key holds spaces or letters that no key has; see FUSEBOX_KEY.")
        return cls(found.rstrip("/"), given or None, patience or Patience(), verify)

    def http_options(self) -> dict[str, Any]:
        """For httpx.Client and httpx.AsyncClient. Redirects are not followed: an upload can't be, a key should not."""
        headers = {"User-Agent": f"fusebox-client/{_version()}", "Accept-Encoding": CODINGS}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return {"base_url": self.url, "headers": headers, "verify": self.verify, "follow_redirects": False}


def opened(connection: Connection, make: Callable[..., T]) -> T:
    """The HTTP client that `make` makes for this connection. Raises UnusableUrl."""
    try:
        return make(**connection.http_options())
    except (httpx.InvalidURL, ValueError) as error:
        raise UnusableUrl(f"{connection.url} or a proxy of the environment (HTTP_PROXY) is no URL: {error}.") from None
    except ImportError as error:  # what some proxies need is installed apart
        raise UnusableUrl(f"The proxy of the environment can't be used: {error}") from None


def _version() -> str:
    try:
        return version("fusebox-client")
    except PackageNotFoundError:  # run from a checkout
        return "0"
