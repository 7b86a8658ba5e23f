"""What was tried and what came of it, line by line; the last line counts."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Transcript:
    """Prints each check as it ends. One that fails does not keep the others from being tried."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def figure(self, name: str, value: object) -> None:
        print(f"        {name}: {value}", flush=True)

    def check(self, sentence: str, act: Callable[..., object], *arguments: object) -> None:
        """Pass unless the act raises; what it returns is told as well."""
        begun = time.monotonic()
        try:
            found = act(*arguments)
        except Exception as error:
            self.failed.append(sentence)
            print(f"  FAIL  {sentence}: {type(error).__name__}: {error}", flush=True)
            return
        self.passed += 1
        detail = "" if found is None else f": {found}"
        print(f"  pass  {sentence}{detail} ({time.monotonic() - begun:.1f} s)", flush=True)

    def close(self) -> int:
        """The exit code."""
        print(f"\n{self.passed} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed else 0
