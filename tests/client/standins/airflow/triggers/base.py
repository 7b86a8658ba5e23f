"""Triggers, which travel as a path and arguments that JSON can hold."""

from collections.abc import AsyncIterator
from typing import Any


class TriggerEvent:
    def __init__(self, payload: Any) -> None:
        self.payload = payload


class BaseTrigger:
    def serialize(self) -> tuple[str, dict[str, Any]]:
        raise NotImplementedError

    def run(self) -> AsyncIterator[TriggerEvent]:
        raise NotImplementedError
