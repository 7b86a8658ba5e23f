"""A deferrable Airflow operator: the upload and the download take a worker, the wait between them takes none.

    FuseOperator(task_id="fuse", model="/data/best.pt", fused="/data/best.fused.pt", options={"max_error": 1e-2})

The task's result (XCom) is the report's summary. URL and key come from FUSEBOX_URL and FUSEBOX_KEY, on workers and
triggerers; `fusebox_url` overrides the first.
"""

from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from fusebox_client import AsyncFusebox, Demands, Fusebox, JobError, judge


class FuseOperator(BaseOperator):
    """Fuses `model` into `fused`. A job that fails, or a gate that is not met, fails the task without another try."""

    template_fields = ("model", "fused", "fusebox_url")

    def __init__(
        self,
        *,
        model: str,
        fused: str,
        options: dict[str, Any] | None = None,
        demands: dict[str, Any] | None = None,
        fusebox_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.fused = fused
        self.options = options or {}
        self.demands = demands or {}
        self.fusebox_url = fusebox_url

    def execute(self, context: Any) -> None:
        """Upload, and leave the worker. A task that is tried again finds the job that it already has."""
        with Fusebox(self.fusebox_url) as fusebox:
            job = fusebox.fuse(self.model, idempotency_key=_name(context), **self.options)
        self.log.info("job %s", job.url)
        self.defer(trigger=FuseTrigger(job.id, self.fusebox_url), method_name="collect")

    def collect(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """On a worker again, once the job has ended: judge the report, fetch the file."""
        with Fusebox(self.fusebox_url) as fusebox:
            job = fusebox.job(event["job_id"])
            try:
                report = job.report()
            except JobError as error:
                raise AirflowFailException(str(error)) from error
            missed = [gate for gate in judge(report, Demands(**self.demands)) if not gate.met]
            if missed:
                raise AirflowFailException("; ".join(f"{gate.name}: {gate.sentence}" for gate in missed))
            job.download(self.fused)
        return dict(report.raw["summary"])


class FuseTrigger(BaseTrigger):
    """Waits for the end of a job in the triggerer, over server-sent events."""

    def __init__(self, job_id: str, fusebox_url: str | None = None) -> None:
        super().__init__()
        self.job_id = job_id
        self.fusebox_url = fusebox_url

    def serialize(self) -> tuple[str, dict[str, Any]]:
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"job_id": self.job_id, "fusebox_url": self.fusebox_url}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, at the end."""
        async with AsyncFusebox(self.fusebox_url) as fusebox:
            job = await (await fusebox.job(self.job_id)).watch()
        yield TriggerEvent({"job_id": job.id, "state": job.state})


def _name(context: Any) -> str:
    """The same for every try of one task of one run, and for no other."""
    task = context["ti"]
    return f"{task.dag_id}/{task.run_id}/{task.task_id}/{task.map_index}"
