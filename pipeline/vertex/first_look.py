"""What is known of a user's data and weights before a job is compiled from them.

Compiling itself reads no bucket. Without --preset, though, data and weights decide the
configuration (`pipeline.recipe`), so the runner looks at them, like the local one.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.config import PipelineConfig, override
from pipeline.errors import UserError, one_line
from pipeline.given_paths import with_content
from pipeline.vertex.connection import check_readable

_CLOUD = "gs://"
_T = TypeVar("_T")


def look(
    config: PipelineConfig, on_failure: Callable[[UserError], None] | None = None
) -> dict[str, Any]:
    """Looks at the data and at the weights to start from.

    Args:
      config: names them.
      on_failure: is called with what can't be read, and the rest is looked at; None raises it.

    Returns:
      `pipeline.data.first_look.FirstLook` by name, and `weights`: what `choose_recipe` takes, and
      `found`. What could not be looked at is missing.

    Raises:
      UserError: something can't be read.
    """
    data, weights = config.data, config.warm_start.weights
    known: dict[str, Any] = {}
    for paths, read, listed in (
        ((data.path, data.train, data.eval, data.test), _data, True),
        ((weights,), _weights, False),
    ):
        try:
            known |= _read(config, [path for path in paths if path], read, listed)
        except UserError as error:
            if on_failure is None:
                raise
            on_failure(error)
    return known


def with_weights(config: PipelineConfig) -> PipelineConfig:
    """Checks the weights to start from, and fills in the hash of what they hold.

    Raises:
      UserError: when they can't be read, or don't fit the network.
    """
    return _read(config, [config.warm_start.weights], _checked, listed=False)


def _checked(config: PipelineConfig) -> PipelineConfig:
    from pipeline.training.initial_weights import check_warm_start

    config = override(config, with_content(config.warm_start))
    check_warm_start(config.warm_start.model_dump(), config.model)
    return config


def _read(
    config: PipelineConfig,
    paths: list[str],
    read: Callable[[PipelineConfig], _T],
    listed: bool,
) -> _T:
    buckets = {path.split("/")[2] for path in paths if path.startswith(_CLOUD)}
    for bucket in sorted(buckets - {""}):
        check_readable(config.vertex, bucket, listed)

    from tensorflow import errors

    try:
        return read(config)
    except (OSError, errors.OpError) as error:
        raise UserError(f"Could not read {' and '.join(paths)}: {one_line(error)}") from error


def _data(config: PipelineConfig) -> dict[str, Any]:
    from pipeline.data.first_look import look_at
    from pipeline.pipeline import example_gen_of

    return look_at(example_gen_of(config))._asdict()


def _weights(config: PipelineConfig) -> dict[str, Any]:
    from pipeline.training.initial_weights import settings_of_weights

    return {"weights": settings_of_weights(config.warm_start.model_dump())}
