"""`fusebox api`: the API under uvicorn."""

import asyncio
import logging
import resource
import socket
from types import FrameType

import uvicorn

from app.api.deps import Service
from app.api.main import build_api, connection_limits, guarded, open_service
from app.api.network.connection import bounded
from app.commands.listening import bindable_port
from app.jobs.keys import first_key
from app.settings import Settings, make_data_dir

# A transfer that is still going on when the service stops is cut off after this time.
_GRACE_SECONDS = 5
_CLEAN_UP_SECONDS = 2
_OPEN_FILES = 8192

log = logging.getLogger("fusebox.api")


class _Server(uvicorn.Server):
    """uvicorn waits for requests in progress before it tells the application; those that wait must hear of it first."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.stopping.set()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # It has cut off what took too long and would end the process at once: uploads remove what they stored.
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_CLEAN_UP_SECONDS)


def _without_query(record: logging.LogRecord) -> bool:
    """Keep the query out of the access log: somebody may put a secret there by mistake."""
    if isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, path, *rest = record.args
        record.args = (client, method, str(path).partition("?")[0], *rest)
    return True


def _raise_file_limit() -> None:
    """Each connection and each upload is an open file; the usual soft limit is for programs that use select."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tell_who_may_enter(service: Service, settings: Settings) -> None:
    """Where keys are needed and none was ever made, make one and show it: this once, and not through the log."""
    if service.keyring is None:
        if not settings.on_loopback:
            log.warning("api.open host=%s: no key is asked for, whoever reaches the service may use it", settings.host)
        return
    token = None if service.keyring.given else first_key(service.engine)
    if token is not None:
        print(
            "\nThere was no API key, so one was made. It is shown only now; `fusebox keys add NAME` makes others.\n\n"
            f"    curl -H 'Authorization: Bearer {token}' -F model=@yolov7.pt {settings.url}/fuse\n",
            flush=True,
        )


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises InvalidSettings, CanNotStart."""
    make_data_dir(settings)
    bindable_port(settings.host, settings.port)
    service = open_service(settings)
    _tell_who_may_enter(service, settings)
    _raise_file_limit()
    logging.getLogger("uvicorn.access").addFilter(_without_query)
    config = uvicorn.Config(
        guarded(build_api(service), settings),
        host=settings.host,
        port=settings.port,
        # The class, not a name: uvicorn else takes whichever parser happens to be installed.
        http=bounded(connection_limits(settings)),
        ws="none",
        log_config=None,
        server_header=False,
        # Who says "I speak for somebody else" is believed only if the operator names him.
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=sorted(settings.proxies),
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    _Server(config, service).run()
