"""How accurate files are: the pictures that are evaluated on, and the Evaluator's metric."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from tfx.types import artifact_utils, standard_artifacts

from models.image import decode_image, resize
from models.tflite.detector import as_input
from pipeline.benchmark.candidates import Candidate, Origin
from pipeline.benchmark.worker import Worker
from pipeline.data.example_gen import DetectionExampleGen
from pipeline.data.example_gen_executor import find_all_inputs
from pipeline.data.raw_example import LabelledPicture, labelled_pictures
from pipeline.data.split import EVAL, SIDES
from pipeline.errors import UserError, one_line
from pipeline.shipping.coco_metric import Picture, PictureScorer

FIGURES = ("mAP50", "mAP")


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What is evaluated on.

    Attributes:
      source: in words.
      pictures: in any order.
    """

    source: str
    pictures: Sequence[LabelledPicture]


def pictures_of_run(origin: Origin) -> Pictures:
    """The evaluation images of the run that trained a model.

    Raises:
      UserError: they are gone.
    """
    examples = standard_artifacts.Examples()
    examples.uri = origin.training.examples[0].uri
    examples.split_names = artifact_utils.encode_split_names(list(SIDES))
    name = origin.training.run.name
    try:
        found = list(labelled_pictures(examples, EVAL))
    except Exception as error:  # TensorFlow's, of a damaged record
        raise UserError(
            f"Expected the evaluation images of run {name} in {examples.uri}. Received: "
            f"{one_line(error)}"
        ) from error
    if not found:
        raise UserError(
            f"Expected the evaluation images of run {name} in {examples.uri}. Received: none. Name "
            "a folder of labelled images with --images."
        )
    return Pictures(f"{len(found)} evaluation images of run {name}", found)


def pictures_in(folder: str, class_from: str) -> Pictures:
    """The labelled images of a folder, in any format; of its evaluation side if it has one.

    Args:
      folder: see `pipeline.data.example_gen.DetectionExampleGen`.
      class_from: likewise.

    Raises:
      UserError: there are no usable labelled images.
    """
    inputs = find_all_inputs(DetectionExampleGen(folder, class_from=class_from))
    items = [item for item in inputs.items if item.side == EVAL] or inputs.items
    found, reasons = [], []
    for checked, image in itertools.chain.from_iterable(map(inputs.read, items)):
        if image is None:
            reasons.append(f"{checked.file}: {checked.reason}")
            continue
        none = (False,) * len(image.names)
        found.append(
            LabelledPicture(
                image.encoded,
                np.array(image.boxes, np.float32).reshape(-1, 4),
                list(image.names),
                np.array(image.difficult or none, bool),
                np.array(image.crowd or none, bool),
                image.image_id,
            )
        )
    if not any(picture.labels for picture in found):
        raise UserError(
            f"Expected labelled images in {folder}. Received: {len(found)} usable images without "
            f"an object, {len(reasons)} unusable ones"
            + (f", the first of which is {reasons[0]}" if reasons else "")
            + ". Check the labels."
        )
    side = " of the evaluation side" if len(items) < len(inputs.items) else ""
    left_out = f", {len(reasons)} unusable ones left out" if reasons else ""
    return Pictures(f"{len(found)} images{side} in {folder} ({inputs.title}{left_out})", found)


def first_images(pictures: Pictures | None, count: int, size: int) -> list[np.ndarray]:
    """A few pictures to time with, uint8 [S, S, 3]; noise if there are none."""
    if pictures is None:
        return list(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))
    chosen = itertools.islice(pictures.pictures, count)
    return [resize(decode_image(picture.encoded), size).numpy() for picture in chosen]


def score(
    candidates: Mapping[int, Candidate], workers: Mapping[int, Worker], pictures: Iterable
) -> dict[int, dict[str, float | None]]:
    """Runs files on pictures.

    Args:
      candidates: with labels, by any key.
      workers: with their files open, by the same keys.
      pictures: `LabelledPicture`s.

    Returns:
      `FIGURES` of each, 0..1; None where no object counts.

    Raises:
      UserError: a file does not run, or finds a class without a name.
    """
    scorers = {key: PictureScorer() for key in candidates}
    sizes = {candidate.interface.input_size for candidate in candidates.values()}
    for picture in pictures:
        image = decode_image(picture.encoded)
        resized = {size: resize(image, size).numpy() for size in sizes}
        for key, candidate in candidates.items():
            interface = candidate.interface
            taken = as_input(resized[interface.input_size], interface.dtype)
            found = interface.detections(workers[key].run(taken))
            if found.class_ids.max(initial=0) >= len(candidate.labels):
                raise UserError(
                    f"Expected a label for each class of {candidate.path}. Received: "
                    f"{len(candidate.labels)}, but it found class index {found.class_ids.max()}."
                )
            scorers[key].add(
                Picture(
                    source_id=picture.image_id,
                    boxes=picture.boxes,
                    labels=picture.labels,
                    detected_boxes=found.boxes,
                    detected_labels=[candidate.labels[index] for index in found.class_ids],
                    scores=found.scores,
                    difficult=picture.difficult,
                    crowd=picture.crowd,
                )
            )
    return {key: _figures(scorer.metrics()) for key, scorer in scorers.items()}


def _figures(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: metrics[name] if math.isfinite(metrics[name]) else None for name in FIGURES}
