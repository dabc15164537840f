"""Presets: complete configurations, one a file; each module's docstring is its lab note."""

import importlib
import pkgutil

from pipeline.config import PipelineConfig
from pipeline.errors import UserError

DEFAULT = "demo"


def names() -> list[str]:
    """All presets."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> PipelineConfig:
    """The configuration of a preset.

    Raises:
      UserError: when there is none of that name; lists those that there are.
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
