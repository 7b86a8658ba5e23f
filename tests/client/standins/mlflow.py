"""The part of MLflow that the example uses, writing the layout of MLflow's own file store."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_active: list[Path] = []


@contextmanager
def start_run(run_name: str | None = None) -> Iterator[None]:
    run = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix("file:")) / "0" / uuid.uuid4().hex
    for part in ("metrics", "tags", "artifacts"):
        (run / part).mkdir(parents=True)
    _active.append(run)
    set_tag("mlflow.runName", run_name or "")
    yield
    _active.pop()


def set_tag(key: str, value: str) -> None:
    (_active[-1] / "tags" / key).write_text(value)


def set_tags(tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        set_tag(key, value)


def log_metrics(metrics: Mapping[str, float]) -> None:
    for key, value in metrics.items():
        (_active[-1] / "metrics" / key).write_text(f"0 {float(value)} 0\n")


def log_artifact(local_path: str, artifact_path: str | None = None) -> None:
    shutil.copy(local_path, _artifact(f"{artifact_path or ''}/{Path(local_path).name}"))


def log_text(text: str, artifact_file: str) -> None:
    _artifact(artifact_file).write_text(text, encoding="utf-8")


def log_dict(dictionary: Mapping[str, object], artifact_file: str) -> None:
    log_text(json.dumps(dictionary), artifact_file)


def _artifact(name: str) -> Path:
    path = _active[-1] / "artifacts" / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
