"""Detects with MediaPipe Tasks, in an environment of its own: it has other pins than TFX.

    python mediapipe_detections.py MODEL MIN_SCORE PICTURE ...

Prints JSON: for each picture a list of {label, score, box}, the box as [ymin, xmin, height, width]
in pixels.
"""

import json
import sys

import mediapipe
from mediapipe.tasks import python
from mediapipe.tasks.python import vision


def main() -> None:
    """Runs the command."""
    model, min_score, *pictures = sys.argv[1:]
    options = vision.ObjectDetectorOptions(
        base_options=python.BaseOptions(model_asset_path=model),
        score_threshold=float(min_score),
        max_results=-1,
    )
    answers = []
    with vision.ObjectDetector.create_from_options(options) as detector:
        for picture in pictures:
            found = detector.detect(mediapipe.Image.create_from_file(picture)).detections
            answers.append([entry for detection in found for entry in _plain(detection)])
    print(json.dumps(answers))


def _plain(detection) -> list[dict]:
    """One entry a category: MediaPipe joins those that have the same box."""
    box = detection.bounding_box
    return [
        {
            "label": category.category_name,
            "score": category.score,
            "box": [box.origin_y, box.origin_x, box.height, box.width],
        }
        for category in detection.categories
    ]


if __name__ == "__main__":
    main()
