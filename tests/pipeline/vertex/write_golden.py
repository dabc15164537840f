"""Rewrites the golden file: python -m tests.pipeline.vertex.write_golden."""

from pipeline.vertex.compilation import compile_job, for_vertex
from tests.pipeline.vertex import conftest
from tests.pipeline.vertex.test_compilation import GOLDEN, readable

if __name__ == "__main__":
    GOLDEN.write_text(readable(compile_job(for_vertex(conftest.config.__wrapped__()))))
