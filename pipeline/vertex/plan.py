"""The plan of a run: its machines, hours and cost, estimated from a price table.

Every step is ended when it takes `vertex.max_overrun` times its estimate, so the plan bounds the
cost of a run, too.
"""

import dataclasses
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.vertex.job_spec import needs_of, task_graph, tasks_of
from pipeline.vertex.limits import BEAM_TASKS, TRAINER, Limits
from pipeline.vertex.machines import MACHINES
from pipeline.vertex.prices import Prices, price_of

# Vertex AI's machine for tasks that do not ask for one.
_TASK_MACHINE = "e2-standard-4"


@dataclasses.dataclass(frozen=True)
class Step:
    """A line of the plan.

    Attributes:
      task: of the job, or what a task starts and waits for, such as "Trainer: custom job".
      machine: on which it runs.
      image: that it runs; empty for the service's own tasks.
      hours: duration.
      cost: in USD.
      ends: hours from the start of the run to the end of the step.
    """

    task: str
    machine: str
    image: str
    hours: float
    cost: float
    ends: float


def make_plan(
    config: PipelineConfig, job: dict[str, Any], prices: Prices, num_images: int
) -> list[Step]:
    """Estimates every task of a compiled job.

    Args:
      config: that the job was compiled from.
      job: see `pipeline.vertex.compilation.compile_job`.
      prices: see `load_prices`.
      num_images: in the data set.

    Returns:
      The steps, in an order in which they can run.

    Raises:
      UserError: the price table lacks a machine.
    """
    spec = job["pipelineSpec"]
    tasks, needs = tasks_of(spec), needs_of(job)
    steps: dict[str, list[Step]] = {}
    for name in task_graph(job).static_order():
        component = spec["components"][tasks[name]["componentRef"]["name"]]
        executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
        # Tasks that do not wait for each other run at the same time.
        start = max((steps[other][0].ends for other in needs[name]), default=0.0)
        if "container" in executor:
            image = executor["container"]["image"]
            steps[name] = _task_steps(config, name, image, prices, num_images, start)
        else:
            steps[name] = [Step(name, "none (Vertex AI itself)", "", 0.0, 0.0, start)]
    return [step for listed in steps.values() for step in listed]


def _task_steps(
    config: PipelineConfig, name: str, image: str, prices: Prices, num_images: int, start: float
) -> list[Step]:
    vertex = config.vertex
    task_hours, extra = prices.assumptions.task_minutes / 60, []
    if name == TRAINER:
        machine = MACHINES[vertex.accelerator]
        hours = _training_hours(config, prices)
        cost = hours * price_of(prices.machine_hour, machine.price)
        what = f"{machine.machine_type} ({vertex.accelerator})"
        extra.append(
            Step(f"{name}: custom job", what, vertex.trainer_image, hours, cost, start + hours)
        )
    elif name in BEAM_TASKS and vertex.data_processing == "dataflow":
        hours = _dataflow_hours(config, prices, num_images)
        workers = vertex.dataflow_max_workers
        per_hour = price_of(prices.dataflow_worker_hour, vertex.dataflow_machine_type)
        what = f"up to {workers} x {vertex.dataflow_machine_type}"
        cost = hours * workers * per_hour
        extra.append(
            Step(f"{name}: Dataflow", what, vertex.pipeline_image, hours, cost, start + hours)
        )
    # The task waits for the job that it has started.
    task_hours += sum(step.hours for step in extra)
    cost = task_hours * price_of(prices.machine_hour, _TASK_MACHINE)
    return [Step(name, _TASK_MACHINE, image, task_hours, cost, start + task_hours), *extra]


def _training_hours(config: PipelineConfig, prices: Prices) -> float:
    guess = prices.assumptions
    rate = price_of(guess.training_images_per_second, config.vertex.accelerator)
    images = config.training.steps * config.training.batch_size
    hours = config.training.minutes / 60 or images / rate / 3600
    return guess.training_start_minutes / 60 + hours


def _dataflow_hours(config: PipelineConfig, prices: Prices, num_images: int) -> float:
    guess = prices.assumptions
    if config.vertex.data_processing != "dataflow":
        return 0.0
    rate = guess.dataflow_images_per_worker_second * config.vertex.dataflow_max_workers
    return guess.dataflow_start_minutes / 60 + num_images / rate / 3600


def total_cost(steps: list[Step], prices: Prices) -> float:
    """Cost of one run in USD."""
    return prices.run + sum(step.cost for step in steps)


def total_hours(steps: list[Step]) -> float:
    """Hours from the start of a run to its end."""
    return max(step.ends for step in steps)


@dataclasses.dataclass(frozen=True)
class Bound:
    """What a run can cost at most.

    Attributes:
      overrun: how many times its estimate each step may take.
      limits: the same in seconds.
      cost: of a run whose every step takes as long as it may, in USD.
    """

    overrun: float
    limits: Limits
    cost: float

    def __str__(self) -> str:
        return (
            f"at most {self.cost:.2f} USD: each step is ended at {self.overrun:.1f} times its "
            "estimate"
        )


def bound_cost(
    config: PipelineConfig,
    steps: list[Step],
    prices: Prices,
    num_images: int,
    max_cost: float | None,
) -> Bound:
    """Decides how long each step may take, so that a run can't cost more than its limit.

    Args:
      config: its `vertex.max_overrun` is used where `max_cost` allows it.
      steps: see `make_plan`.
      prices: see `load_prices`.
      num_images: in the data set.
      max_cost: in USD; None for no limit.

    Raises:
      UserError: the estimate is above the limit.
    """
    overrun = config.vertex.max_overrun
    estimate = total_cost(steps, prices)
    if max_cost is not None:
        if estimate > max_cost:
            raise UserError(
                f"The estimate of {estimate:.2f} USD is above --max-cost {max_cost:.2f}, so "
                "nothing was submitted. `submit --dry-run` shows the cost of each task."
            )
        if estimate > prices.run:
            overrun = min(overrun, (max_cost - prices.run) / (estimate - prices.run))
    limits = Limits.of_hours(
        task=overrun * prices.assumptions.task_minutes / 60,
        training=overrun * _training_hours(config, prices),
        dataflow=overrun * _dataflow_hours(config, prices, num_images),
    )
    return Bound(overrun, limits, prices.run + overrun * (estimate - prices.run))


def print_plan(steps: list[Step], prices: Prices, num_images: int) -> None:
    """Prints a plan as a table, with its total and the sources of the prices."""
    console = Console(width=110, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("task", "machine", "hours", "USD"):
        table.add_column(heading, justify="right" if heading in ("hours", "USD") else "left")
    for step in steps:
        table.add_row(step.task, step.machine, f"{step.hours:.2f}", f"{step.cost:.2f}")
    console.print(table)
    for image in sorted({step.image for step in steps if step.image}):
        tasks = ", ".join(step.task for step in steps if step.image == image)
        console.print(f"\nimage {image}\n  {tasks}", markup=False)
    console.print(
        f"\nabout {total_cost(steps, prices):.2f} USD and {total_hours(steps):.1f} hours a run, "
        f"for {num_images:,} images (--images) and with nothing cached"
    )
    console.print(f"prices of {prices.date}: {prices.note}\n  {', '.join(prices.sources)}")
    console.print(prices.assumptions.note)
