"""Where things lie in a shipping model: the Model artifact with the .tflite that is published.

    <uri>/Format-Serving/tflite       the file, byte for byte what the Pusher publishes
    <uri>/Format-Serving/labels.txt   one class a line, line 1 is class index 0

The folder's and the file's names are TFX's and TFMA's own.
"""

import os

SERVING_DIR = "Format-Serving"
MODEL_FILE = "tflite"
LABELS_FILE = "labels.txt"
DETECTOR_FILE = "detector.json"


def serving_path(model_uri: str, name: str) -> str:
    """Path of one of the files above under a Model artifact's uri."""
    return os.path.join(model_uri, SERVING_DIR, name)
