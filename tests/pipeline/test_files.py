import hashlib
import subprocess
import sys

import pytest

from pipeline.files import hash_file, hash_files, serving_path, sha256_of
from pipeline.fingerprint import ROOT


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_bytes(b"two")
    (tmp_path / "a.txt").write_bytes(b"one")
    return tmp_path


def entry(content: bytes) -> dict:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def test_a_file_of_many_chunks_is_hashed_whole(folder):
    content = bytes(range(256)) * 10_000
    (folder / "big").write_bytes(content)
    assert hash_file(folder / "big") == entry(content)


def test_every_file_of_a_folder_is_hashed_by_its_relative_path(folder):
    assert hash_files(folder) == {"a.txt": entry(b"one"), "b/c.txt": entry(b"two")}
    assert hash_files(folder / "a.txt") == {".": entry(b"one")}
    assert hash_files(folder / "nothing") == {}


def test_the_digest_of_a_file_is_that_of_its_contents(folder):
    assert sha256_of(folder / "a.txt") == entry(b"one")["sha256"]
    with pytest.raises(FileNotFoundError):
        sha256_of(folder / "nothing")


def test_a_served_file_lies_where_tfx_looks_for_it():
    assert serving_path("gs://b/model", "tflite") == "gs://b/model/Format-Serving/tflite"


def test_file_names_can_be_looked_up_without_tensorflow():
    program = "import sys, pipeline.files; sys.exit(len({'tensorflow', 'keras'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
