"""What Google's official object detection samples for Android and iOS need: a file each.

With metadata in it, the detector replaces the samples' default model under that one's name.
"""

import json
import shutil
import string
from pathlib import Path

from pipeline.app.bundle import metadata_of, name_of, replacing
from pipeline.detect import ModelFiles
from pipeline.errors import UserError
from pipeline.files import PROVENANCE_FILE, sha256_of

README_FILE = "README.md"
# github.com/google-ai-edge/mediapipe-samples, examples/object_detection, as looked up on _LOOKED.
COMMIT = "ece8a1f99726a364509be9d07835a69ef65d3e35"
_COMMITTED, _LOOKED = "2026-08-17", "2026-11-28"
# Of the samples' default model, by sample: its download_models.gradle, its download_models.sh.
MODEL_PLACES = {
    "android": "android/app/src/main/assets/efficientdet-lite0.tflite",
    "compose": "android-jetpack-compose/app/src/main/assets/efficientdet-lite0.tflite",
    "ios": "ios/ObjectDetector/efficientdet_lite0.tflite",
}


def write_for_apps(model: ModelFiles, out: Path) -> None:
    """Writes the detector where each sample expects it, and a page on what to do.

    Args:
      model: the detector, with TFLite metadata.
      out: see `pipeline.app.bundle.replacing`.

    Raises:
      UserError: the file has no metadata, so that MediaPipe would refuse it, or other outputs; or
        `out` is taken.
    """
    metadata = metadata_of(model)
    if metadata is None:
        raise UserError(
            f"Expected a detector with TFLite metadata, without which MediaPipe refuses it. "
            f"Received: {model.model}, which has none. Push it again with this version of the "
            "pipeline."
        )
    try:
        threshold = json.loads(metadata.files.get(PROVENANCE_FILE, b"{}")).get("score_threshold")
        recommended = (
            "" if threshold is None else f"for this detector, {threshold:.2f} is recommended. "
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"Expected {PROVENANCE_FILE} with a recommended score in {model.model}. Received: "
            f"{error}."
        ) from error
    with replacing(out, README_FILE) as folder:
        for place in MODEL_PLACES.values():
            (folder / place).parent.mkdir(parents=True)
            shutil.copyfile(model.model, folder / place)
        template = string.Template((Path(__file__).parent / "phone.md").read_text(encoding="utf-8"))
        text = template.substitute(
            MODEL_PLACES,
            name=name_of(model, metadata),
            commit=COMMIT,
            short=COMMIT[:7],
            committed=_COMMITTED,
            looked=_LOOKED,
            threshold=recommended,
            sha256=sha256_of(model.model),
        )
        (folder / README_FILE).write_text(text, encoding="utf-8")
