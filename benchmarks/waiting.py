"""How long training waits for its input, with the examples in memory and from disk.

    python -m benchmarks.waiting EXAMPLES [--preset small_data_cpu] [--steps 60] [--set ...]

EXAMPLES is a transformed Examples artifact, such as
`workdir/pipeline_root/Transform/transformed_examples/5`. The step of the preset's network takes the
batches of the training input pipeline; waiting is the time in which it asks for the next one. What
decoding costs shows in the steps, too: on a CPU both use the same cores.

Seen in November 2026 on two busy x86 cores, 15 steps of 32 images: waiting was 0.3% of a step from
memory, and 0.4% from disk.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.training_step import training_step
from models.networks.families import DetectorConfig, fit_anchors
from models.training.input_pipeline import training_batches
from pipeline import features, presets
from pipeline.config import PipelineConfig, override, parse_assignments
from pipeline.training.transformed_examples import TransformedExamples, read_transformed_examples

_WARM_UP_STEPS = 10


def measure(
    examples: TransformedExamples, preset: PipelineConfig, steps: int
) -> tuple[float, float]:
    """Seconds of a step, and the share of them that it waits for its batch."""
    model = fit_anchors(preset.model, examples.box_sizes[2:20:4], examples.box_ratios[2:20:4])
    config = DetectorConfig(num_classes=max(examples.class_ids) + 1, **model.model_dump())
    _, detector = training_step(config, preset.training)
    batches = iter(
        training_batches(
            examples.records,
            input_size=config.input_size,
            batch_size=preset.training.batch_size,
            max_boxes=examples.max_boxes,
            augmentation=preset.augmentation,
            seed=preset.training.seed,
            num_records=len(examples.image_ids),
        )
    )
    waited = 0.0
    for step in range(_WARM_UP_STEPS + steps):
        if step == _WARM_UP_STEPS:
            started, waited = time.perf_counter(), 0.0
        asked = time.perf_counter()
        images, targets = next(batches)
        waited += time.perf_counter() - asked
        detector.train_on_batch(images, targets)
    seconds = time.perf_counter() - started
    return seconds / steps, waited / seconds


def main() -> None:
    """Measures, and prints a line for memory and for disk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("examples", type=Path)
    parser.add_argument("--preset", default="small_data_cpu", choices=presets.names())
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    preset = override(presets.load(options.preset), parse_assignments(options.set))
    pattern = str(options.examples / "Split-train" / "*")
    found = {True: [], False: []}
    for _ in range(options.rounds):
        for keep, figures in found.items():
            examples = read_transformed_examples([pattern], features.CANVAS, keep=keep)
            figures.append(measure(examples, preset, options.steps))
    for keep, figures in found.items():
        step, share = np.median(figures, axis=0)
        print(
            f"{'from memory' if keep else 'from disk'}: a step of {preset.training.batch_size} "
            f"images takes {1000 * step:.0f} ms, {share:.1%} of it waiting for its batch"
        )


if __name__ == "__main__":
    main()
