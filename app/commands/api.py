"""`fusebox api`: the API under uvicorn."""

import uvicorn

from app.api.main import build_api, open_service
from app.settings import Settings

# A download that is still going on when the service stops is cut off after this time.
_GRACE_SECONDS = 5


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    uvicorn.run(
        build_api(open_service(settings)),
        host=settings.host,
        port=settings.port,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
