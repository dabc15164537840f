"""The proof behind the TFLiteRewriter: the file, reloaded, against the network, on real pictures.

Twice: what goes into the post-processing, which every file has whatever it finds, and what comes
out of it, the four outputs that an app sees.
"""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from models.networks.families import DetectorConfig, normalize
from models.networks.post_processing import post_process
from models.settings import PostProcessing
from models.tflite.agreement import Agreement, compare, relative_error
from models.tflite.detector import TFLiteDetector, TFLiteNetwork
from pipeline.errors import UserError
from pipeline.settings import RewriterSettings

# Scores leave an int8 network in steps of 1/256; a network that is sure of nothing differs from
# its file by rounding, which is no fault.
_LEAST_SCORE_SPREAD = 4 / 256
# A thousandth of an anchor's size.
_LEAST_ENCODING_SPREAD = 0.01


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
      detections: the four outputs of the file against those of the network.
      box_error: of the box encodings before the post-processing, see
        `models.tflite.agreement.relative_error`.
      score_error: of the class scores before the post-processing, likewise.
    """

    detections: Agreement
    box_error: float
    score_error: float

    def properties(self) -> dict[str, int | float]:
        """The figures, for the shipping model's artifact."""
        detections = self.detections
        return {
            "agreement": detections.shares["all"],
            **{
                f"agreement_{output}": share
                for output, share in detections.shares.items()
                if output != "all"
            },
            "compared_images": detections.num_images,
            "compared_detections": detections.num_pairs + detections.num_unpaired,
            "max_score_difference": detections.max_score_difference,
            "min_iou": detections.min_iou,
            "raw_box_error": self.box_error,
            "raw_score_error": self.score_error,
        }

    def __str__(self) -> str:
        raw = (
            f"before the post-processing box encodings differ by {self.box_error:.3f} of their "
            f"spread and class scores by {self.score_error:.3f}"
        )
        found = self.detections
        either = found.num_pairs + found.num_unpaired
        if not either:
            return (
                f"nothing sure is found in {found.num_images} images, by the network or by the "
                f"file, so no detection was compared; {raw}"
            )
        return (
            f"{found.num_matched} of {either} detections agree "
            f"({found.num_expected} of the network, {found.num_received} of the file, in "
            f"{found.num_images} images; {found.num_classes} of {found.num_pairs} classes, "
            f"{found.num_boxes} boxes, overlap {found.min_iou:.3f} at least, {found.num_scores} "
            f"scores, {found.max_score_difference:.3f} apart at most); {raw}"
        )


def compare_with_network(
    network: keras.Model,
    config: DetectorConfig,
    post_processing: PostProcessing,
    content: bytes,
    images: Sequence[np.ndarray],
    tolerances: RewriterSettings,
) -> Comparison:
    """Runs the network and its file on the same pictures.

    Args:
      network: the one that was exported.
      config: the network's.
      post_processing: that the file has inside.
      content: the file.
      images: uint8 [S, S, 3], at least one.
      tolerances: the settings of the rewriter.

    Returns:
      `Comparison`; `require_agreement` judges it.
    """
    outputs = network.predict_on_batch(np.asarray(normalize(np.stack(images))))
    encodings, logits = outputs["box_encodings"], outputs["class_logits"]  # [B, N, 4], [B, N, C]
    inner = TFLiteNetwork(content)
    file_encodings, file_scores = map(
        np.stack, zip(*(inner.outputs(image) for image in images), strict=True)
    )
    detector = TFLiteDetector(content)
    detections = compare(
        [
            post_process(*of_image, config.anchors, post_processing)
            for of_image in zip(encodings, logits, strict=True)
        ],
        [detector.detect(image) for image in images],
        min_score=tolerances.min_score,
        max_score_difference=tolerances.max_score_difference,
        min_iou=tolerances.min_iou,
    )
    scores = np.exp(-np.logaddexp(0, -logits))  # the sigmoid, without overflow
    return Comparison(
        detections,
        relative_error(encodings, file_encodings, _LEAST_ENCODING_SPREAD),
        relative_error(scores, file_scores, _LEAST_SCORE_SPREAD),
    )


def require_agreement(found: Comparison, tolerances: RewriterSettings) -> None:
    """Refuses a file that does not compute what the network computes.

    Raises:
      UserError: an output is out of its tolerance; names each.
    """
    problems = [
        f"{what} before the post-processing: {error:.3f} of their spread apart, at most {most:g} "
        f"({setting})"
        for what, error, most, setting in (
            ("box encodings", found.box_error, tolerances.max_raw_box_error, "max_raw_box_error"),
            ("scores", found.score_error, tolerances.max_raw_score_error, "max_raw_score_error"),
        )
        if not error <= most  # not a number is out of every tolerance
    ]
    problems += [
        f"{output}: {share:.1%} agree, at least {tolerances.min_agreement:.1%} (min_agreement)"
        for output, share in found.detections.shares.items()
        if share < tolerances.min_agreement
    ]
    if problems:
        raise UserError(
            "Expected the .tflite to find what the network finds. Received: "
            f"{'; '.join(problems)}. In all: {found}. quantization=aware loses least; the "
            "tolerances are the settings of rewriter."
        )
