"""The child: one job, in its own process. It parses hostile bytes, fuses, verifies and writes; it holds no secret."""

import os
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import torch

from app.engine import fuse_checkpoint
from app.errors import AppError, DiskFull, InternalError, OutOfMemory, Problem
from app.report import Recognised
from app.sandbox.confine import confine
from app.sandbox.wire import Finished, Progress, Recognition, Rejected, Request, send


def run_child(request: Request, channel: socket.socket, parent: int) -> NoReturn:
    """Do the job and end the process; never returns into the warm parent's code."""
    code = 1
    try:
        confine(parent)
        os.chdir(request.directory)
        send(channel, _fuse(request, channel))
        code = 0
    except BrokenPipeError:
        pass  # Nobody waits for the answer any more.
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _fuse(request: Request, channel: socket.socket) -> Finished | Rejected:
    def progress(phase: str) -> None:
        send(channel, Progress.model_validate({"phase": phase}))

    def tell(recognised: Recognised) -> None:
        send(channel, Recognition(recognised=recognised))

    try:
        device = choose_device(request.device)
        report = fuse_checkpoint(
            Path("input"),
            Path("output"),
            request.options,
            filename=request.filename,
            device=device,
            progress=progress,
            tell=tell,
            allowed_globals=request.allowed_globals,
        )
        Path("report.json").write_text(report.model_dump_json(), encoding="utf-8")
    except AppError as error:
        return Rejected(problem=Problem.of(error))
    except (MemoryError, torch.OutOfMemoryError):
        return _out_of_memory()
    except OSError as error:
        full = DiskFull.of(error)
        return _bug() if full is None else Rejected(problem=Problem.of(full))
    except RuntimeError as error:
        # torch has no class of its own for a failed allocation on the CPU.
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            return _out_of_memory()
        return _bug()
    except Exception:
        return _bug()
    return Finished()


def choose_device(wanted: str) -> str:
    """`auto` is CUDA if there is one. Raises InternalError. Only a child asks: its parent must never touch CUDA."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and int(wanted.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise InternalError(f"There is no device {wanted} here.", remedy="The operator sets it as FUSEBOX_DEVICE.")
    return wanted


def _out_of_memory() -> Rejected:
    return Rejected(
        problem=Problem.of(
            OutOfMemory(
                "The job needed more memory than it could get.",
                remedy="Upload the model without optimizer and duplicates, or use a machine with more memory.",
            )
        )
    )


def _bug() -> Rejected:
    traceback.print_exc()
    return Rejected(
        problem=Problem.of(
            InternalError(
                f"The engine failed with {type(sys.exception()).__name__}.",
                remedy="This is a bug: please report it with the checkpoint, or the class names that it uses.",
            )
        )
    )
