"""The training run in TensorBoard: losses, learning rate, mAP and pictures."""

import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from models.drawing import draw_detections
from models.training.scoring import Scores
from models.training.watch import Interval

_NUM_IMAGES = 8
_MIN_SCORE = 0.3


class TensorBoardLog:
    """Writes one event file.

    Args:
      folder: of the event file.
      class_names: by class id.
    """

    def __init__(self, folder: str, class_names: Sequence[str]):
        self.folder = folder
        self._class_names = class_names
        self._writer = tf.summary.create_file_writer(folder)

    def write(self, interval: Interval, scores: Scores, batches) -> None:
        """Adds an interval: scalars, and the detections in the first images.

        Args:
          interval: of `models.training.watch`.
          scores: of the same network.
          batches: the evaluation batches that were scored.
        """
        with self._writer.as_default(step=interval.step):
            for name, value in interval.losses.items():
                tf.summary.scalar(f"train/{name}", value)
            tf.summary.scalar("train/learning_rate", interval.learning_rate)
            tf.summary.scalar("train/images_per_second", interval.images_per_second)
            for name in ("mAP50", "mAP"):
                tf.summary.scalar(f"eval/{name}", scores.metrics[name])
            images = itertools.chain.from_iterable(images for images, _ in batches)
            for index, image in enumerate(itertools.islice(images, _NUM_IMAGES)):
                picture = self._side_by_side(np.asarray(image), index, scores)
                tf.summary.image(f"prediction_and_truth/{index}", picture[None])
        self._writer.flush()

    def close(self) -> None:
        """Finishes the event file."""
        self._writer.close()

    def _side_by_side(self, image: np.ndarray, index: int, scores: Scores) -> np.ndarray:
        """The prediction on the left, the ground truth on the right: uint8 [S, 2 * S, 3]."""
        found = scores.detections[index]
        sure = found.scores >= _MIN_SCORE
        prediction = draw_detections(
            image,
            found.boxes[sure],
            [self._class_names[class_id] for class_id in found.class_ids[sure]],
            found.scores[sure],
            found.class_ids[sure],
        )
        boxes, class_ids = scores.groundtruth[index][:2]
        labels = [self._class_names[class_id] for class_id in class_ids]
        truth = draw_detections(image, boxes, labels, None, class_ids)
        return np.concatenate([np.asarray(prediction), np.asarray(truth)], axis=1)
