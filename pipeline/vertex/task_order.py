"""In which order the tasks of a compiled job can run."""

from collections.abc import Mapping
from typing import Any


def needed_by(task: Mapping[str, Any]) -> set[str]:
    """Names of the tasks that a task depends on, or takes artifacts from."""
    inputs = task.get("inputs", {}).get("artifacts", {}).values()
    return {
        *task.get("dependentTasks", ()),
        *(source["taskOutputArtifact"]["producerTask"] for source in inputs),
    }


def execution_order(tasks: Mapping[str, Any]) -> list[str]:
    """Names of tasks, each after those that it needs.

    Raises:
      ValueError: tasks that wait for each other.
    """
    waiting = {name: needed_by(task) for name, task in tasks.items()}
    order: list[str] = []
    while waiting:
        ready = sorted(name for name, needed in waiting.items() if needed <= set(order))
        if not ready:
            raise ValueError(f"Expected tasks in an order. Received a cycle: {sorted(waiting)}.")
        order.append(ready[0])
        del waiting[ready[0]]
    return order
