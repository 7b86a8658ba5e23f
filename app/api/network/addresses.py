"""Who a client is when it has no key: its address, or the network that one IPv6 customer is given."""

import ipaddress
from collections.abc import Iterable

UNKNOWN = "unknown"


def client_group(host: str | None) -> str:
    """The address as limits count it: an IPv6 client may take any of 2**64 addresses of its own."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def lies_within(host: str | None, networks: Iterable[str]) -> bool:
    """Whether an address is one of these, or in one of these networks."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in networks)
