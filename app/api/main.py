"""The composition root of the API process. It must start without torch: images of the API hold none."""

from threading import Event

from fastapi import FastAPI

from app.api.deps import Service
from app.api.network.connection import ConnectionLimits
from app.api.network.guard import Guard
from app.api.network.hosts import HostRules
from app.api.openapi.examples import EXAMPLES
from app.api.problems import install_problems
from app.api.receiving.admission import Admission
from app.api.receiving.uploads import UploadLimits
from app.api.routes import events, fuse, health, jobs, listing, pages, results
from app.api.schemas import ProblemDocument
from app.api.watching import Watch
from app.jobs.keys import Keyring
from app.jobs.opening import open_prepared
from app.jobs.queue import JobQueue
from app.jobs.quotas import Quotas
from app.settings import Settings, service_version
from app.storage import open_blobs


def build_api(service: Service) -> FastAPI:
    """The API over its tools."""
    api = FastAPI(
        title="Fusebox",
        version=service_version(),
        description="Makes trained neural networks lighter and faster without changing what they compute.",
        docs_url=None,  # Both would load scripts from elsewhere.
        redoc_url=None,
        redirect_slashes=False,
    )
    api.state.service = service
    for part in (fuse, listing, jobs, events, results, health, pages):
        api.include_router(part.router)
    install_problems(api)
    _complete_document(api, keys=service.keyring is not None)
    return api


def guarded(api: FastAPI, settings: Settings) -> Guard:
    """The API as it faces the network."""
    local = settings.on_loopback
    named = settings.host_names if settings.allowed_hosts or local else frozenset()
    return Guard(api, HostRules(named, local), api.state.service.stopping)


def connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        max_connections=settings.max_connections,
        max_connections_per_client=settings.max_connections_per_client,
        head_seconds=settings.header_seconds,
        stall_seconds=settings.stall_seconds,
        trusted_proxies=settings.proxies,
    )


def open_service(settings: Settings) -> Service:
    """Connect to database, queue and blobs, creating what is missing. Raises InvalidSettings, CanNotStart."""
    given = settings.given_keys()
    engine = open_prepared(settings.database)
    stopping = Event()
    return Service(
        engine=engine,
        queue=JobQueue(engine),
        blobs=open_blobs(settings.blobs),
        uploads=UploadLimits(
            settings.max_upload_bytes, settings.upload_idle_seconds, settings.min_upload_bytes_per_second
        ),
        quotas=Quotas(
            max_active_jobs=settings.max_active_jobs,
            max_active_jobs_per_key=settings.max_active_jobs_per_key,
            max_stored_bytes=settings.max_stored_bytes,
            max_stored_bytes_per_key=settings.max_stored_bytes_per_key,
        ),
        admission=Admission(settings.max_uploads, settings.max_uploads_per_client, settings.min_free_bytes),
        keyring=Keyring(engine, given) if settings.keys_required else None,
        max_wait_seconds=settings.max_wait_seconds,
        dead_after_seconds=settings.dead_after_seconds,
        public_url=settings.public_url,
        stopping=stopping,
        watch=Watch(engine, stopping),
    )


def _complete_document(api: FastAPI, *, keys: bool) -> None:
    """Put into the OpenAPI document what the routes refer to, and which of them ask for a key."""
    generate = api.openapi

    def openapi() -> dict[str, object]:
        document = generate()
        parts = document.setdefault("components", {})
        parts.setdefault("schemas", {})["ProblemDocument"] = ProblemDocument.model_json_schema()
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if path.startswith(("/fuse", "/v1/")):
                    operation["security"] = [{"key": []}] if keys else [{}, {"key": []}]
                # The framework's own, where a route documents no 422: nothing is ever answered with it.
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        for name, example in EXAMPLES.items():
            parts["schemas"][name]["examples"] = [example]
        for unused in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(unused, None)
        return document

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way of changing its document
