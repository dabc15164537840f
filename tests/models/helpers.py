"""Small networks, pictures and records for the tests of the detector."""

import keras
import numpy as np

from models.networks.anchors import make_anchors, ssd_anchor_maps
from models.networks.families import DetectorConfig
from models.settings import PyramidSettings, TrainingSettings

TINY = DetectorConfig(num_classes=3, input_size=64, depth_multiplier=0.125)
_THIN = {"depth": 16, "head_layers": 1, "head_depth": 16}
# One small network of each kind.
TINY_FPN = TINY.model_copy(
    update={"family": "ssd_fpn", "pyramid": PyramidSettings(max_level=6, **_THIN)}
)
TINY_LIGHT_FPN = TINY.model_copy(
    update={
        "family": "ssd_fpn",
        "pyramid": PyramidSettings(min_level=4, separable=True, **_THIN),
        "backbone_blocks": 12,
    }
)
TINY_RETINANET = TINY.model_copy(
    update={"family": "retinanet", "pyramid": PyramidSettings(max_level=6, **_THIN)}
)
KINDS = {
    "ssd": TINY,
    "ssd_fpn": TINY_FPN,
    "light ssd_fpn": TINY_LIGHT_FPN,
    "retinanet": TINY_RETINANET,
}
# Of a few maps: for tests that need any anchors.
ANCHORS = make_anchors(ssd_anchor_maps((4, 2, 1), 0.2, 0.95))


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """float32 [count, 4] corners inside the image, of sides 0.05 to 0.5."""
    size = rng.uniform(0.05, 0.5, (count, 2))
    corner = rng.uniform(0, 1, (count, 2)) * (1 - size)
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def brute_force_iou(a, b) -> float:
    """Overlap of two boxes, spelled out."""
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return height * width / union if union > 0 else 0.0


def records(count: int = 10, side: int = 72, num_classes: int = 3):
    """A tf.data.Dataset of coloured rectangles on noise, as `input_pipeline` takes it."""
    import tensorflow as tf

    rng = np.random.default_rng(7)
    canvases = rng.integers(90, 160, (count, side, side, 3), np.uint8)
    class_ids, boxes = [], []
    for index, canvas in enumerate(canvases):
        number = index % 3  # every third picture is empty
        boxes.append(random_boxes(rng, number))
        class_ids.append(rng.integers(0, num_classes, number).astype(np.int32))
        for box, class_id in zip(boxes[-1], class_ids[-1], strict=True):
            ymin, xmin, ymax, xmax = np.round(box * side).astype(int)
            canvas[ymin:ymax, xmin:xmax] = 0
            canvas[ymin:ymax, xmin:xmax, class_id % 3] = 255
    return tf.data.Dataset.from_tensor_slices(
        {
            # Without loss, unlike the JPEGs of Transform: colours are exact.
            "encoded": [tf.io.encode_png(canvas).numpy() for canvas in canvases],
            "boxes": tf.RaggedTensor.from_row_lengths(np.concatenate(boxes), list(map(len, boxes))),
            "class_ids": tf.RaggedTensor.from_row_lengths(
                np.concatenate(class_ids), list(map(len, class_ids))
            ),
            "image_index": np.arange(count, dtype=np.int32),
        }
    )


def training(**changes) -> TrainingSettings:
    """Settings of a run of a few steps."""
    few = {
        "steps": 6,
        "batch_size": 4,
        "learning_rate": 0.01,
        "quantization_delay": 4,
        "eval_every": 2,
    }
    return TrainingSettings(**(few | changes))


def randomize(network, seed: int = 0) -> None:
    """Gives a network weights and batch norm statistics as after some training."""
    rng = np.random.default_rng(seed)
    for variable in network.variables:
        if "mean_colour" in variable.path:  # a constant
            continue
        if variable.path.endswith(("moving_variance", "gamma")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.path.endswith(("moving_mean", "beta", "bias")):
            variable.assign(rng.normal(0, 0.3, variable.shape))
        elif "kernel" in variable.path:
            fan_in = np.prod(variable.shape[:3]) if variable.shape[-1] != 1 else 9
            variable.assign(rng.normal(0, np.sqrt(2 / fan_in), variable.shape))


def settle(network, images) -> None:
    """Sets the batch norms' statistics to those of a batch, so that activations keep their size."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(images, training=True)
