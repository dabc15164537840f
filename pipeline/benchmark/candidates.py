"""What is compared: files, the forms beside them, and those made from what is recorded."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

from models.networks.families import DetectorConfig
from models.settings import PostProcessing
from models.tflite.export import export_tflite, without_rounding
from models.tflite.interface import Interface, read_interface
from models.training import checkpoint
from models.weights.class_names import find_class_names
from pipeline.errors import UserError, one_line
from pipeline.files import (
    FLOAT16_MODEL_FILE,
    PUSHED_MODEL_FILE,
    RAW_MODEL_FILE,
    SERVING_FOLDER,
    SHIPPING_FACTS_FILE,
    serving_path,
)
from pipeline.lineage import open_backend, places
from pipeline.lineage.fate import origins
from pipeline.lineage.subject import find_subject
from pipeline.lineage.training import Training, trainings_of_models

_BESIDE = (RAW_MODEL_FILE, FLOAT16_MODEL_FILE)
_FLOAT = {"float32": False, "float16": True}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A file to measure.

    Attributes:
      model: the name of its model, for people.
      path: of the file.
      interface: see there.
      labels: class names by index, "" for an index that is no class; empty if nobody knows them.
    """

    model: str
    path: Path
    interface: Interface
    labels: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a store records of a model.

    Attributes:
      training: of the network in it.
      shipping_model: uri of the Model artifact with the file that was judged.
    """

    training: Training
    shipping_model: str


def read_candidate(model: str, path: Path, labels: str = "") -> Candidate:
    """Looks at a file.

    Args:
      model: the name of its model.
      path: of the file.
      labels: a label file; "" looks inside of the file and then beside it.

    Raises:
      UserError: it is no detector, or the labels are not its own.
    """
    try:
        content = path.read_bytes()
        interface = read_interface(content, str(path))
        names, _ = find_class_names(str(path), content, labels, interface.num_classes)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    return Candidate(model, path, interface, names)


def forms_beside(candidate: Candidate) -> Iterator[Candidate]:
    """The other forms of a pushed version.

    Raises:
      UserError: one of them is no detector.
    """
    for name in _BESIDE if candidate.path.name == PUSHED_MODEL_FILE else ():
        path = candidate.path.with_name(name)
        if path.is_file():
            yield dataclasses.replace(
                read_candidate(candidate.model, path), labels=candidate.labels
            )


def find_origin(path: Path, location: str) -> Origin:
    """Looks a file up.

    Args:
      path: of the file.
      location: of the store.

    Raises:
      UserError: the store does not know the file, or there is no store.
    """
    backend = open_backend(location)
    found = find_subject(backend, str(path)).artifact
    shipping, trained = origins(backend, [found])[found.id]
    return Origin(
        trainings_of_models(backend, [trained])[0], backend.artifacts([shipping])[shipping].uri
    )


def make_float_forms(candidate: Candidate, origin: Origin, folder: Path) -> Iterator[Candidate]:
    """Exports the trained network in floating point, with the post-processing of the file.

    Args:
      candidate: the model's own file; its own form is not made again.
      origin: of it.
      folder: to write to.

    Raises:
      UserError: the trained network is gone or damaged.
    """
    missing = {name: half for name, half in _FLOAT.items() if name != candidate.interface.form}
    try:
        network, config, settings = _load(origin)
    except (OSError, ValueError, LookupError) as error:
        raise UserError(
            f"Expected the network that {candidate.model} was made from, for its forms in floating "
            f"point. Received: {one_line(error)}"
        ) from error
    plain = without_rounding(network)
    for name, half in missing.items():
        saved = folder / "saved_model"
        content = export_tflite(plain, config, settings, str(saved), quantize=False, float16=half)
        path = folder / f"{name}.tflite"
        path.write_bytes(content)
        found = Candidate(
            candidate.model, path, read_interface(content, str(path)), candidate.labels
        )
        yield found


def _load(origin: Origin) -> tuple[object, DetectorConfig, PostProcessing]:
    facts = json.loads(places.read(serving_path(origin.shipping_model, SHIPPING_FACTS_FILE)))
    trained = os.path.join(origin.training.model.uri, SERVING_FOLDER)
    network, config, _ = checkpoint.load_detector(trained)
    return network, config, PostProcessing(**facts["post_processing"])
