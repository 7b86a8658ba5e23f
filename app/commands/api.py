"""`fusebox api`: the API under uvicorn."""

import asyncio
import socket
from types import FrameType

import uvicorn

from app.api.deps import Service
from app.api.main import build_api, open_service
from app.settings import Settings, make_data_dir

# A transfer that is still going on when the service stops is cut off after this time.
_GRACE_SECONDS = 5
_CLEAN_UP_SECONDS = 2


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


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises InvalidSettings."""
    make_data_dir(settings)
    service = open_service(settings)
    config = uvicorn.Config(
        build_api(service),
        host=settings.host,
        port=settings.port,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    _Server(config, service).run()
