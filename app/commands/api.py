"""`fusebox api`: the API under uvicorn."""

from types import FrameType

import uvicorn

from app.api.deps import Service
from app.api.main import build_api, open_service
from app.settings import Settings, make_data_dir

# A download that is still going on when the service stops is cut off after this time.
_GRACE_SECONDS = 5


class _Server(uvicorn.Server):
    """uvicorn waits for requests in progress before it tells the application; those that wait must hear of it first."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.stopping.set()
        super().handle_exit(sig, frame)


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
