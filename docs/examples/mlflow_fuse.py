"""Fuse a checkpoint and keep everything about it in the MLflow run that made it.

    with mlflow.start_run():
        train(...)                      # writes best.pt
        log_fused("best.pt", max_error=1e-2)

The fused file and the report are artifacts, the figures are metrics, what was recognised and by whom are tags.
"""

import sys
import tempfile
from typing import Unpack

import mlflow

from fusebox_client import Fusebox, FuseReport, report_markdown
from fusebox_client.options import Options


def log_fused(model: str, *, url: str | None = None, key: str | None = None, **options: Unpack[Options]) -> FuseReport:
    """Log into the active run; a job that fails raises, and the run tells why."""
    with Fusebox(url, key) as fusebox, tempfile.TemporaryDirectory() as directory:
        job = fusebox.fuse(model, **options)
        mlflow.set_tag("fusebox.job", job.url)
        report = job.report()
        mlflow.log_artifact(str(job.download(directory)), "fused")
    mlflow.log_dict(dict(report.raw), "fused/report.json")
    mlflow.log_text(report_markdown(report, url=job.url), "fused/report.md")
    mlflow.log_metrics(_metrics(report))
    mlflow.set_tags(_tags(report))
    return report


def _metrics(report: FuseReport) -> dict[str, float]:
    summary = report.summary
    found: dict[str, float] = {
        "fusebox.layers_replaced": summary.layers_replaced,
        "fusebox.layers_refused": summary.layers_refused,
        "fusebox.batch_norms_after": summary.batch_norms_after,
        "fusebox.parameters_before": summary.parameters_before,
        "fusebox.parameters_after": summary.parameters_after,
        "fusebox.bytes_saved_by_fusing": summary.bytes_saved_by_fusing,
        "fusebox.bytes_stripped": summary.bytes_stripped,
    }
    if report.equivalence is not None:
        found["fusebox.error_native"] = report.equivalence.native.relative
        found["fusebox.noise_native"] = report.equivalence.native.noise
    for row in report.latency.rows if report.latency else ():
        found[f"fusebox.speedup_batch_{row.batch}"] = row.ratio
    return found


def _tags(report: FuseReport) -> dict[str, str]:
    detected = report.input.detected
    return {
        "fusebox.family": detected.family or "unknown",
        "fusebox.source": detected.source,
        "fusebox.input_sha256": report.input.sha256,
        "fusebox.output_sha256": report.output.sha256,
        "fusebox.version": report.environment.fusebox,
    }


if __name__ == "__main__":
    with mlflow.start_run(run_name="fuse"):
        print(log_fused(sys.argv[1]).summary)
