"""Both lanes side by side: what imports, a training step and the demo's components cost in each.

    python -m benchmarks.lanes --older COMMAND --modern COMMAND [--rounds 1] [--set ...]

A COMMAND starts a lane's Python in a clone where `make setup` has installed it: `.venv/bin/python`,
or in the userland of `.ci/modern`, with its /dev, /proc and /sys as there,
`chroot USERLAND env --chdir=/clone .venv/bin/python`. The settings are the demo's.

The lanes take turns, and a row has the medians of the rounds, in seconds of processor time: other
programs take less of these than of the clock's.

Modern / older in one round (two CPU cores that a training used, too, Debian 13's Python 3.13 in a
userland on Debian 12, November 2026): imports 0.95 (8.3 s against 8.7), the demo after them 1.01
(159 s against 158), Transform 0.98, the Trainer 1.04, the TFLiteRewriter 0.93. A training step, in
two turns of 30 steps after three that warm up: 1.01 and 0.97 (0.35 s; fewer steps are noise).
"""

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import tempfile
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

_WARM_UP, _STEPS = 3, 20
# What starts the line of figures, among whatever else is printed.
_FIGURES = "figures: "


def processor_seconds() -> float:
    """Of this process so far, and of its children that have ended."""
    return sum(os.times()[:4])


def measure(*settings: str) -> dict[str, float]:
    """Seconds of processor time in this lane by row of the table; call it in a new process."""
    begun = processor_seconds()
    import pipeline.pipeline  # noqa: F401 - TensorFlow, TFX and all of our own

    costs = {"imports of a run": processor_seconds() - begun}
    costs["a training step of small_data_cpu"] = _training_step()
    begun = processor_seconds()
    components = _demo(settings)
    costs["the demo after its imports"] = processor_seconds() - begun
    return costs | {f"  {name}": seconds for name, seconds in components.items()}


def _training_step() -> float:
    from benchmarks.training_step import seconds, training_step, typical_detector
    from pipeline import presets

    preset = presets.load("small_data_cpu")
    step, _ = training_step(typical_detector(preset), preset.training)
    for _ in range(_WARM_UP):  # the first one traces
        seconds(step)
    begun = processor_seconds()
    for _ in range(_STEPS):
        seconds(step)
    return (processor_seconds() - begun) / _STEPS


def _demo(settings: tuple[str, ...]) -> dict[str, float]:
    import local_runner
    from pipeline.local import run

    components = {}

    @contextlib.contextmanager
    def timed(component: str) -> Iterator[None]:
        begun = processor_seconds()
        yield
        components[component] = processor_seconds() - begun

    run.timed = timed
    with tempfile.TemporaryDirectory() as workdir:
        flags = ["--set", *settings] if settings else []
        if local_runner.main(["--workdir", workdir, *flags]) == local_runner.EXIT_FAILED:
            raise SystemExit("the demo failed")
    return components


def measured(command: str, settings: list[str]) -> dict[str, float]:
    """`measure` in the lane that a command starts."""
    program = (
        "import json, sys; from benchmarks import lanes;"
        f"print('\\n{_FIGURES}' + json.dumps(lanes.measure(*sys.argv[1:])))"
    )
    done = subprocess.run(
        [*shlex.split(command), "-c", program, *settings],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"},
    )
    return json.loads(done.stdout.rsplit(_FIGURES, 1)[1])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--older", metavar="COMMAND", required=True)
    parser.add_argument("--modern", metavar="COMMAND", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.KEY=VALUE")
    options = parser.parse_args()
    older, modern = [], []
    for _ in range(options.rounds):
        older.append(measured(options.older, options.set))
        modern.append(measured(options.modern, options.set))
    table = Table("seconds of processor time", "older", "modern", "modern / older", box=None)
    for row in older[0]:
        old, new = (statistics.median(costs[row] for costs in lane) for lane in (older, modern))
        table.add_row(row, f"{old:.2f}", f"{new:.2f}", f"{new / old:.2f}" if old else "")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
