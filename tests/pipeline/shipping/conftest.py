"""The bucket that publishing is tested against."""

from tests.pipeline.vertex.conftest import cloud, private_key

__all__ = ["cloud", "private_key"]
