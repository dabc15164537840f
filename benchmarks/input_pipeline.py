"""How many images a second the training input pipeline delivers, and what a TPU host needs.

    python -m benchmarks.input_pipeline [--input-size 300] [--batch-size 128] [--step-ms 50]

Canvases are in memory, as JPEGs, as in training. The cores that a step time needs are those of this
machine; a step time on a TPU is an assumption until it was measured on one.

Measured in November 2026 on two cores of an AMD EPYC that other work shared, batch 128, 300x300,
six of seven images cropped, brightness and contrast varied, two runs: 259 and 268 images a second
of processor time. At the assumed 50 ms a step (2,560 images a second) a v3-8 needs 10 such cores
of the 96 that its host has; at 20 ms 25.
"""

import argparse
import math
import os
import time

import numpy as np
import tensorflow as tf

from models.image import encode_canvas, resize
from models.settings import Augmentation
from models.training.input_pipeline import training_batches


def records(count: int, canvas_size: int) -> tf.data.Dataset:
    """Random records of the form that `models.training.input_pipeline` takes."""
    rng = np.random.default_rng(0)
    # Smooth, as photographs are.
    small = rng.integers(0, 256, (count, canvas_size // 8, canvas_size // 8, 3), np.uint8)
    canvases = [encode_canvas(resize(picture, canvas_size)).numpy() for picture in small]
    return tf.data.Dataset.from_tensor_slices(
        {
            "encoded": canvases,
            "boxes": np.tile(np.float32([[0.2, 0.2, 0.7, 0.8]]), (count, 1, 1)),
            "class_ids": np.zeros((count, 1), np.int32),
            "image_index": np.arange(count, dtype=np.int32),
        }
    ).cache()


def images_per_core_second(input_size: int, batch_size: int, batches: int) -> tuple[float, float]:
    """The rates of the pipeline alone, after a warm-up: by processor time, and by the clock.

    Processor time says what a core can do, whatever else keeps the machine busy.
    """
    count = 4 * batch_size
    data = training_batches(
        records(count, input_size * 28 // 25),
        input_size=input_size,
        batch_size=batch_size,
        max_boxes=8,
        augmentation=Augmentation(flip=True, crop_probability=6 / 7, brightness=0.1, contrast=0.2),
        seed=1,
        num_records=count,
    )
    iterator = iter(data)
    for _ in range(4):
        next(iterator)
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(batches):
        next(iterator)
    images = batches * batch_size
    return images / (time.process_time() - processor), images / (time.perf_counter() - clock)


def main() -> None:
    """Measures, and prints what follows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input-size", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--step-ms", type=float, default=50.0, help="expected on a v3-8")
    options = parser.parse_args()
    rate, by_clock = images_per_core_second(options.input_size, options.batch_size, options.batches)
    cores = len(os.sched_getaffinity(0))
    needed = options.batch_size / (options.step_ms / 1000) / rate
    print(f"{rate:.0f} images/s a core ({by_clock:.0f} images/s on {cores} cores by the clock)")
    print(
        f"a step of {options.batch_size} in {options.step_ms:g} ms needs {math.ceil(needed)} cores "
        "like these; a v3-8's host has 96"
    )


if __name__ == "__main__":
    main()
