"""Operators, and how one leaves its worker."""

import logging
from types import TracebackType
from typing import Any, Self

DAGS: dict[str, "DAG"] = {}


class TaskDeferred(BaseException):
    def __init__(self, trigger: Any, method_name: str) -> None:
        super().__init__()
        self.trigger = trigger
        self.method_name = method_name


class DAG:
    current: "DAG | None" = None

    def __init__(self, dag_id: str, schedule: None = None) -> None:
        self.dag_id = dag_id
        self.tasks: list[BaseOperator] = []
        DAGS[dag_id] = self

    def __enter__(self) -> Self:
        DAG.current = self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        DAG.current = None


class BaseOperator:
    def __init__(self, *, task_id: str) -> None:
        self.task_id = task_id
        self.log = logging.getLogger(type(self).__name__)
        assert DAG.current is not None
        DAG.current.tasks.append(self)

    def defer(self, *, trigger: Any, method_name: str) -> None:
        raise TaskDeferred(trigger, method_name)
