"""The version of TFX that runs: this code runs on TFX 1.16 and on TFX 1.21.

The one place that tells them apart. What is only needed for the older one can go with it.
"""

import importlib.metadata

from pipeline.errors import UserError

TFX = importlib.metadata.version("tfx")
IS_OLDER = TFX.startswith("1.16.")
# Names the version of TFX that the training job was compiled with.
REQUIRED_TFX = "REQUIRED_TFX"


def require(compiled_with: str) -> None:
    """Checks that a job runs on the version of TFX that compiled it.

    Args:
      compiled_with: such as "1.21.0"; empty requires nothing.

    Raises:
      UserError: the image has another version.
    """
    if compiled_with not in ("", TFX):
        raise UserError(
            f"Expected an image with TFX {compiled_with}, with which this job was compiled. "
            f"Received: one with TFX {TFX}. Compile the job again where TFX is {TFX}, or name the "
            f"images that were built for TFX {compiled_with}."
        )
