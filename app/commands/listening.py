"""Whether the API can listen where it is to, found out before anything else is begun."""

import errno
import socket

from app.settings import InvalidSettings

_REMEDIES = {
    errno.EADDRINUSE: "end what listens there, or choose another with FUSEBOX_PORT",
    errno.EACCES: "ports below 1024 need a right that this user does not have (CAP_NET_BIND_SERVICE); the default, "
    "8000, needs none",
}
_NO_ADDRESS = "FUSEBOX_HOST must be an address or a name of this machine: 127.0.0.1, or 0.0.0.0 for all"


def bindable_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises InvalidSettings where the API could never listen."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # All addresses of a name, as the API listens on all of them, but for kinds that the kernel lacks.
        ports = [_bound(family, address) for family, _, _, _, address in found if _has(family)]
    except UnicodeError:
        raise _can_not(host, port, "no name of a host", _NO_ADDRESS) from None
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, _NO_ADDRESS)
        raise _can_not(host, port, error.strerror or str(error), remedy) from None
    if not ports:
        raise _can_not(host, port, "no address of a kind that this machine has", _NO_ADDRESS)
    return ports[0]


def _has(family: socket.AddressFamily) -> bool:
    try:
        socket.socket(family).close()
    except OSError:
        return False
    return True


def _bound(family: socket.AddressFamily, address: tuple[object, ...]) -> int:
    with socket.socket(family) as probe:
        # As the API does: connections of a service that has just ended are no obstacle, and each kind is by itself.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)
        return int(probe.getsockname()[1])


def _can_not(host: str, port: int, why: str, remedy: str) -> InvalidSettings:
    return InvalidSettings(f"the API can't listen on {host}, port {port}: {why}; {remedy}")
