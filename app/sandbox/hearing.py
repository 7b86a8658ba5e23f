"""What a worker takes from a child while it listens: each thing once, in order, and within bounds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

from app.jobs.job import Phase
from app.report import Recognised
from app.sandbox.bounds import is_bounded, is_bounded_recognised
from app.sandbox.outcome import Attempted, DeviceFailed, Outcome, Refused, Succeeded
from app.sandbox.wire import Faulted, Finished, Progress, ProtocolError, Recognition, Rejected, Tried

_ORDER: tuple[Phase, ...] = get_args(Phase)


@dataclass(slots=True)
class Hearing:
    """What a child has said so far. A child that says more than a job has to say is not believed."""

    on_phase: Callable[[Phase], object]
    on_recognised: Callable[[Recognised], object]
    phases: list[Phase] = field(default_factory=list)
    recognised: bool = False

    def take(self, message: Any) -> Outcome | None:
        """The answer, if this is one. Raises ProtocolError."""
        match message:
            case Progress(phase=phase) if not self.phases or _ORDER.index(phase) > _ORDER.index(self.phases[-1]):
                self.phases.append(phase)
                self.on_phase(phase)
            case Recognition(recognised=recognised) if not self.recognised and is_bounded_recognised(recognised):
                self.recognised = True
                self.on_recognised(recognised)
            case Finished():
                return Succeeded()
            case Rejected(problem=problem) if is_bounded(problem):
                return Refused(problem)
            case Faulted(fault=fault):
                return DeviceFailed(fault)
            case Tried(wrong=wrong):
                return Attempted(wrong)
            case _:
                raise ProtocolError("not what a child has to say now")
        return None
