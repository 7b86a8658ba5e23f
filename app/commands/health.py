"""`fusebox health`: whether the API that runs beside this command is well, for a container's health check."""

import http.client

import typer

from app.settings import Settings

_SECONDS = 5.0
_LONGEST_ANSWER = 64 << 10
_OF_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def ask(settings: Settings, path: str) -> int:
    """Print the API's own answer; the exit code is 0 if it is well."""
    host = settings.host.strip("[]")
    connection = http.client.HTTPConnection(_OF_EVERY_ADDRESS.get(host, host), settings.port, timeout=_SECONDS)
    # Asked for under a name that it answers to.
    names = sorted(settings.host_names)
    try:
        connection.request("GET", path, headers={"Host": names[0]} if names else {})
        answer = connection.getresponse()
        typer.echo(answer.read(_LONGEST_ANSWER).decode(errors="replace").strip())
        return 0 if answer.status == http.HTTPStatus.OK else 1
    except (OSError, UnicodeError, http.client.HTTPException) as error:  # UnicodeError: of a name that is none
        typer.echo(f"{path} of {host}, port {settings.port}: {error or type(error).__name__}")
        return 1
    finally:
        connection.close()
