"""Writes the golden file anew: python tests/vertex/write_golden.py."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import conftest  # noqa: E402
from test_compilation import GOLDEN, readable  # noqa: E402

from pipeline.vertex.compilation import compile_job, for_vertex  # noqa: E402

if __name__ == "__main__":
    GOLDEN.write_text(readable(compile_job(for_vertex(conftest.config.__wrapped__()))))
