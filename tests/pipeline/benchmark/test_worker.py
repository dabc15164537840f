import os
import signal
from pathlib import Path

import numpy as np
import pytest

from models.tflite.interface import read_interface
from pipeline.benchmark import worker as worker_module
from pipeline.benchmark.worker import Worker, open_file
from pipeline.errors import UserError

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 1, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory, int8_model) -> Path:
    path = tmp_path_factory.mktemp("file") / "my.tflite"
    path.write_bytes(int8_model)
    return path


@pytest.fixture(scope="module")
def outputs(int8_model):
    return read_interface(int8_model, "").outputs


@pytest.mark.parametrize("xnnpack", [True, False])
def test_xnnpack_is_on_or_off(file, xnnpack):
    interpreter = open_file(str(file), 1, xnnpack)
    names = {operator["op_name"] for operator in interpreter._get_ops_details()}
    assert ("DELEGATE" in names) == xnnpack


def test_a_worker_runs_the_file_in_another_process(file, outputs):
    expected = open_file(str(file), 2, True)
    with Worker(file, outputs, PICTURES, threads=2) as worker:
        for picture in PICTURES:
            expected.set_tensor(expected.get_input_details()[0]["index"], picture)
            expected.invoke()
            for index, received in zip(outputs, worker.run(picture), strict=True):
                np.testing.assert_array_equal(received, expected.get_tensor(index))
        times = worker.time(7)
        assert len(times) == 7
        assert min(times) > 0
        if os.path.exists("/proc/self/status"):
            # Opening takes memory, and far less than an interpreter of Python with TensorFlow.
            assert 0 < worker.peak_bytes() < 50e6


def test_what_the_runtime_refuses_is_one_line(tmp_path, outputs):
    path = tmp_path / "my.tflite"
    path.write_bytes(b"nothing of the kind" * 50)
    with pytest.raises(UserError, match=r"Received: .*my\.tflite, at which the runtime says: "):
        Worker(path, outputs, PICTURES)


def test_a_process_that_ends_before_it_begins_is_one_line(file, outputs, monkeypatch):
    monkeypatch.setattr(worker_module, "_serve", quit)
    many = np.zeros((100, 1, 64, 64, 3), np.uint8)  # more than a pipe holds
    with pytest.raises(UserError, match=r"my\.tflite, at which the runtime crashed"):
        Worker(file, outputs, many)


def test_a_crash_of_the_runtime_is_one_line(file, outputs):
    with Worker(file, outputs, PICTURES) as worker:
        os.kill(worker._process.pid, signal.SIGSEGV)
        with pytest.raises(UserError, match=r"my\.tflite, at which the runtime crashed.*SIGSEGV"):
            worker.run(PICTURES[0])
