"""`fusebox serve`: the API and one worker as child processes, each started again when it dies."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from app.commands.listening import bindable_port
from app.mistyped import unknown_names
from app.sandbox.confine import die_with_parent
from app.settings import Settings, as_environment, make_data_dir

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
# A worker that ends with this code has said why it can't start. To load its libraries every ten seconds and hear the
# same again would take a third of a core.
_REFUSES, _SHORTEST_REFUSING, _LONGEST_REFUSING = 2, 2.0, 60.0
# A process that ran so long was well: its next death is answered without a pause.
_WELL_SECONDS = 30.0
_STOP_SECONDS = 15.0

log = logging.getLogger("fusebox.serve")


@dataclass(slots=True)
class _Role:
    """One child process and the pause before it is started again."""

    name: str
    environment: dict[str, str]
    refusing: tuple[float, float] = (_SHORTEST_PAUSE, _LONGEST_PAUSE)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = _SHORTEST_PAUSE
    due: float = field(default=0.0)

    def start(self) -> None:
        parent = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", self.name],
            env=self.environment,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the others in order.
            preexec_fn=lambda: die_with_parent(parent),
        )
        self.started = time.monotonic()
        log.info("serve.started role=%s pid=%d", self.name, self.process.pid)

    def look_after(self) -> None:
        """Start the process if there is none and its pause is over."""
        now = time.monotonic()
        if self.process is not None and (code := self.process.poll()) is not None:
            refuses = code == _REFUSES
            shortest, longest = self.refusing if refuses else (_SHORTEST_PAUSE, _LONGEST_PAUSE)
            if now - self.started > _WELL_SECONDS and not refuses:
                self.pause = shortest
            self.pause = min(max(self.pause, shortest), longest)
            self.process, self.due = None, now + self.pause
            log.warning("serve.died role=%s code=%d again_in=%.1f", self.name, code, self.pause)
            self.pause = min(self.pause * 2, longest)
        if self.process is None and now >= self.due:
            self.start()

    def stop(self, deadline: float) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("serve.killed role=%s", self.name)
            self.process.kill()
            self.process.wait()


def serve(settings: Settings) -> int:
    """Supervise until SIGTERM or SIGINT; the exit code. Raises InvalidSettings."""
    make_data_dir(settings)
    port = bindable_port(settings.host, settings.port)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    # What is no setting was told once: each role would tell it again.
    unknown = set(unknown_names(os.environ))
    plain = {name: value for name, value in os.environ.items() if name not in unknown}
    environment = plain | as_environment(settings.model_copy(update={"port": port}))
    # What works on files has no use for keys.
    keyless = environment | {"FUSEBOX_API_KEYS": "", "FUSEBOX_API_KEYS_FILE": ""}
    roles = [_Role("api", environment), _Role("worker", keyless, (_SHORTEST_REFUSING, _LONGEST_REFUSING))]
    log.info("serve.listening url=http://%s:%d data_dir=%s", settings.host, port, settings.data_dir)
    while not stop.is_set():
        for role in roles:
            role.look_after()
        stop.wait(0.1)
    for role in roles:
        if role.process is not None:
            role.process.terminate()
    deadline = time.monotonic() + settings.drain_seconds + _STOP_SECONDS
    for role in roles:
        role.stop(deadline)
    return 0
