"""Examples for OpenAPI: a job while it runs, as its caller sees it."""

from typing import Any, Final

from app.options import FuseOptions
from app.report import Recognised

_ID: Final = "5f0c2b7e9d1a4c3f8e6b0a7d2c4e1f90"
_PATH: Final = f"/v1/jobs/{_ID}"

_JOB: Final[dict[str, Any]] = {
    "id": _ID,
    "state": "running",
    "phase": "fusing",
    "revision": 5,
    "queue_position": None,
    "created_at": "2026-11-28T09:30:00.125000Z",
    "started_at": "2026-11-28T09:30:00.410000Z",
    "finished_at": None,
    "attempts": 1,
    "options": FuseOptions(max_error=1e-4).model_dump(mode="json"),
    "unknown_options": [],
    "input": {"filename": "yolov7.pt", "bytes": 75_587_165, "sha256": "1b" * 32},
    "probe": {"filename": "images.npy", "bytes": 9_830_528, "sha256": "2c" * 32},
    "recognised": Recognised(
        format="torch-zip",
        family="YOLOv7",
        source="ema",
        model_class="models.yolo.Model",
        classes=80,
        dtype="float16",
        parameters=37_196_556,
    ).model_dump(mode="json"),
    "output": None,
    "problem": None,
    "links": {
        "self": _PATH,
        "events": f"{_PATH}/events",
        "done": f"{_PATH}/done",
        "model": f"{_PATH}/model",
        "report": f"{_PATH}/report",
        "bundle": f"{_PATH}/bundle",
        "comparison": f"{_PATH}/comparison.py",
        "page": f"/jobs/{_ID}",
    },
    "next": f"curl --fail-with-body -OJ 'http://localhost:8000{_PATH}/model?wait=120'",
}
_PAGE: Final[dict[str, Any]] = {"jobs": [_JOB], "next": "MTc5NTg2MzU1OC41IDVmMGMyYjdlOWQxYTRjM2Y4ZTZiMGE3ZDJjNGUxZjkw"}
_HEALTH: Final[dict[str, Any]] = {
    "ready": True,
    "checks": {"database": "ok", "blobs": "ok", "worker": "ok"},
    "sandbox": "full",
    "devices": [{"device": "cuda:0", "state": "ok", "error": None, "since": "2026-11-28T09:00:00Z"}],
    "refused": [],
}
# By the name of the schema. They are put into the finished document: the framework drops every null on its way there.
EXAMPLES: Final = {"JobView": _JOB, "JobPage": _PAGE, "Health": _HEALTH}
