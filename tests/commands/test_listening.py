"""Where the API can listen, asked of the real system."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.commands.listening import bindable_port
from app.settings import InvalidSettings

_ROOT = Path(__file__).resolve().parent.parent.parent
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")

# Names are looked up once as the user that may read this Python.
_AS_NOBODY = """
import os
from app.commands.listening import bindable_port
from app.settings import InvalidSettings
bindable_port("127.0.0.1", 0)
if os.getuid() == 0:
    os.setuid(65534)
try:
    bindable_port("127.0.0.1", 81)
except InvalidSettings as error:
    print(error)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_free_port_is_found_and_can_be_had(host: str) -> None:
    port = bindable_port(host, 0)

    assert bindable_port(host, port) == port > 0


def test_a_port_that_is_taken_on_any_address_of_a_name_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(InvalidSettings, match=f"localhost, port {port}: Address already in use; .*FUSEBOX_PORT"):
            bindable_port("localhost", port)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.7", "a..b", "x" * 300, "[::1", " "])
def test_what_is_no_address_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(InvalidSettings, match=r"the API can't listen on .*; FUSEBOX_HOST must be an address or a name"):
        bindable_port(host, 8000)


@pytest.mark.skipif(int(_UNPRIVILEGED.read_text()) <= 81, reason="all users may have all ports here")
def test_a_port_for_which_the_user_lacks_the_right_is_refused_with_one_that_needs_none() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY],
        cwd=_ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.stdout.startswith("the API can't listen on 127.0.0.1, port 81: Permission denied; ports below 1024")
    assert ended.stdout.endswith("8000, needs none\n")
