"""The detector alone: a small detection library on Keras 3. It knows neither TFX nor Beam."""

import os
from pathlib import Path

# Keras writes its settings and downloads weights, and matplotlib its caches, into the home folder
# unless told otherwise.
_HOME = Path(__file__).resolve().parent.parent / ".keras"
os.environ.setdefault("KERAS_HOME", str(_HOME))
os.environ.setdefault("MPLCONFIGDIR", str(_HOME / "matplotlib"))
