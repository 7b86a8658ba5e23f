"""What a person sees while it goes on, on standard error: bars on a terminal, a line for each change elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.status import Status

from fusebox_client.progress import Progress
from fusebox_client.report.words import plain, size
from fusebox_client.views import JobView

_VERBS = {"upload": ("uploading", "uploaded"), "download": ("downloading", "downloaded")}


class Screen:
    """One line that lives: a transfer's bar, or the phase of the job. As a context it leaves the terminal clean."""

    def __init__(self, quiet: bool = False) -> None:
        self._words = Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._bars: Bars | None = None
        self._status: Status | None = None
        self._direction = ""
        self._stage = ""
        self._recognised = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._clear()

    def say(self, sentence: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._words.print(plain(sentence), markup=False, soft_wrap=True)

    def transfer(self, progress: Progress) -> None:
        """The callback of uploads and downloads."""
        if self._quiet:
            return
        going, gone = _VERBS[progress.direction]
        if self._words.is_terminal:
            self._show_bar(progress, going)
        if progress.done >= progress.total:
            self._clear()
            speed = f" at {size(progress.bytes_per_second)}/s" if progress.seconds else ""
            kept = f", {size(progress.resumed)} of them before" if progress.resumed else ""
            self.say(f"{gone} {size(progress.total)}{speed}{kept}")

    def stage(self, view: JobView) -> None:
        """The callback of those who wait for a job."""
        if self._quiet or view.ended:
            return
        if view.recognised and not self._recognised:
            found, self._recognised = view.recognised, True
            self.say(f"recognised {found.variant or found.family or found.format}, {found.parameters:,} parameters")
        if self._words.is_terminal:
            self._show_stage(view.stage)
        elif view.stage != self._stage:
            self._stage = view.stage
            self.say(view.stage)

    def again(self, reason: str, seconds: float) -> None:
        """The callback of attempts that failed."""
        self.say(f"{reason}; trying again in {seconds:.1f} s")

    def _show_bar(self, progress: Progress, going: str) -> None:
        if self._bars is None or self._direction != progress.direction:
            self._clear()
            self._direction = progress.direction
            self._bars = Bars(
                *(TextColumn("{task.description}"), BarColumn(), DownloadColumn()),
                *(TransferSpeedColumn(), TimeRemainingColumn()),
                console=self._words,
                transient=True,
            )
            self._bars.add_task(going, total=progress.total)
            self._bars.start()
        self._bars.update(self._bars.task_ids[0], completed=progress.done)

    def _show_stage(self, stage: str) -> None:
        if self._status is None:
            self._clear()
            self._status = self._words.status(escape(plain(stage)))
            self._status.start()
        self._status.update(escape(plain(stage)))

    def _clear(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        if self._status is not None:
            self._status.stop()
            self._status = None
