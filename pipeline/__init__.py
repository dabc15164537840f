"""The TFX pipeline: components, modules, configuration, presets."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # On Vertex AI TFX finds an artifact's class by the name of its type, which must have one dot.
    # By its text, as an import would make the report a part of every component's code.
    if name == "RunReport":
        return importlib.import_module("pipeline.report.component").RunReport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
