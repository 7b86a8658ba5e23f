"""What can become of a child, as its worker sees it."""

from dataclasses import dataclass

from app.devices.found import Fault
from app.errors import Problem


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Output and report lie in the job's directory, and the child is gone."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The child says what is wrong with the file."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The child was killed because the job is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """The child was killed because its time was up."""


@dataclass(frozen=True, slots=True)
class Excessive:
    """The child was killed because it used more than it may."""

    of: str


@dataclass(frozen=True, slots=True)
class Forbidden:
    """The child was killed by the kernel for a system call that no honest library makes."""


@dataclass(frozen=True, slots=True)
class DeviceFailed:
    """The GPU failed while the child worked on it: perhaps the device is sick, perhaps it was the file."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Died:
    """The child ended without an answer, or with one that is none."""

    how: str
    out_of_memory: bool


@dataclass(frozen=True, slots=True)
class Attempted:
    """The child tried what it was to try, and tells what went otherwise than it must."""

    wrong: tuple[str, ...]


Outcome = Attempted | Succeeded | Refused | Interrupted | Overdue | Excessive | Forbidden | DeviceFailed | Died
