"""Presets: complete configurations, one per file; each docstring is its lab note."""

import importlib
import pkgutil

from pipeline.config import PipelineConfig
from pipeline.errors import UserError

DEFAULT = "demo"


def names() -> list[str]:
    """The names of all presets."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> PipelineConfig:
    """Loads the configuration of a preset.

    Raises:
      UserError: when there is no preset of that name; lists the presets.
    """
    if name not in names():
        raise UserError(
            f"Expected a preset that exists. Received: {name!r}. Presets: {', '.join(names())}."
        )
    module = importlib.import_module(f"{__name__}.{name}")
    return module.config().model_copy(update={"preset": name})


def describe(name: str) -> str:
    """The docstring of a preset."""
    return importlib.import_module(f"{__name__}.{name}").__doc__.strip()
