"""`db migrate` and `dags reserialize` do nothing; `dags test ID` runs a DAG, its triggers in between."""

import asyncio
import importlib
import json
import logging
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAGS, BaseOperator, TaskDeferred


def _run(task: Any, dag_id: str) -> Any:
    instance = SimpleNamespace(dag_id=dag_id, run_id="manual__1", task_id=task.task_id, map_index=-1)
    try:
        return task.execute({"ti": instance})
    except TaskDeferred as left:
        path, arguments = json.loads(json.dumps(left.trigger.serialize()))
        module, _, name = path.rpartition(".")
        trigger = getattr(importlib.import_module(module), name)(**arguments)
        return getattr(task, left.method_name)({"ti": instance}, asyncio.run(_first_event(trigger)))


async def _first_event(trigger: Any) -> Any:
    event = await anext(trigger.run())
    return json.loads(json.dumps(event.payload))


def main(arguments: list[str]) -> None:
    logging.basicConfig(level=logging.INFO)
    if arguments[:2] != ["dags", "test"]:
        return
    for file in (Path(os.environ["AIRFLOW_HOME"]) / "dags").glob("*.py"):
        runpy.run_path(str(file))
    tasks: list[BaseOperator] = DAGS[arguments[2]].tasks
    for task in tasks:
        print(_run(task, arguments[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
