"""The fake cloud, for leases in a bucket."""

from tests.pipeline.vertex.conftest import cloud, private_key

__all__ = ["cloud", "private_key"]
