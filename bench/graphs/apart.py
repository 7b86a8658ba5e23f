"""Runs a function in a forked process, so that a crash or a hang of a tool is a cell of the table."""

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    reason: str


def apart(function: Callable[..., T], *arguments: object, seconds: float) -> T | Failure:
    """What the function returns. Imports are warm in the fork; the parent itself never computes."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(theirs, function, arguments))
    child.start()
    theirs.close()
    try:
        answer = ours.recv() if ours.poll(seconds) else Failure(f"not done after {seconds:.0f} s")
    except EOFError:
        child.join()
        answer = Failure(f"crashed, exit code {child.exitcode}")
    child.kill()
    child.join()
    return answer


def _answer(pipe: Connection, function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)  # on a busy machine several threads spin for minutes, each waiting for the other
    silence = os.open(os.devnull, os.O_WRONLY)  # tools print tables and logs of their own
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        pipe.send(function(*arguments))
    except Exception as error:
        lines = str(error).strip().splitlines()
        pipe.send(Failure(f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]))
