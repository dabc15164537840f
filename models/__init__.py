"""The detector alone: a small detection library on Keras 3. It knows neither TFX nor Beam."""

import os
from pathlib import Path

# Keras writes its settings, and downloads weights, into the home folder unless told otherwise.
os.environ.setdefault("KERAS_HOME", str(Path(__file__).resolve().parent.parent / ".keras"))
