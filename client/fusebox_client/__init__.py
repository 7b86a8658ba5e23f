"""The Python client of Fusebox: `Fusebox("https://fuse.example.org").fuse("m.pt").download("m.fused.pt")`."""

from fusebox_client.async_client import AsyncFusebox, AsyncJob
from fusebox_client.client import Fusebox, Job
from fusebox_client.problems import (
    AnswerTooLarge,
    Busy,
    DigestMismatch,
    FuseboxError,
    IdempotencyKeyReused,
    JobCanceled,
    JobError,
    JobExpired,
    JobFailed,
    JobNotFound,
    NotEquivalent,
    Problem,
    ProblemError,
    RefusedRequest,
    ServiceFault,
    StillRunning,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
    UnsafeFile,
)
from fusebox_client.progress import Progress
from fusebox_client.report.gates import Demands, Gate, judge
from fusebox_client.report.markdown import report_markdown
from fusebox_client.report.parts import FuseReport
from fusebox_client.talk.patience import Patience
from fusebox_client.views import JobView

__all__ = [
    "AnswerTooLarge",
    "AsyncFusebox",
    "AsyncJob",
    "Busy",
    "Demands",
    "DigestMismatch",
    "FuseReport",
    "Fusebox",
    "FuseboxError",
    "Gate",
    "IdempotencyKeyReused",
    "Job",
    "JobCanceled",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "JobView",
    "NotEquivalent",
    "Patience",
    "Problem",
    "ProblemError",
    "Progress",
    "RefusedRequest",
    "ServiceFault",
    "StillRunning",
    "Unauthorized",
    "UnexpectedAnswer",
    "Unreachable",
    "UnsafeFile",
    "judge",
    "report_markdown",
]
