import numpy as np
import pytest
import tensorflow as tf

from pipeline import features
from pipeline.errors import UserError
from pipeline.training.transformed_examples import read_transformed_examples

BOXES = [np.zeros((0, 4)), np.float32([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]])]


def feature(values):
    if isinstance(values[0] if len(values) else 0.0, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if np.asarray(values).dtype.kind == "i":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


@pytest.fixture
def pattern(tmp_path):
    """Two files with three images each, as Transform writes them."""
    return write(tmp_path, crowd=[0, 0], difficult=[0, 0])


def write(tmp_path, **flags):
    """Writes the files of `pattern`; returns the pattern."""
    for shard in range(2):
        path = str(tmp_path / f"transformed-{shard}")
        with tf.io.TFRecordWriter(path) as writer:
            for index in range(3):
                number = shard * 3 + index
                boxes = BOXES[number % 2]
                content = {
                    features.CANVAS: [f"canvas {number}".encode()],
                    features.IMAGE_ENCODED: [f"file {number}".encode()],
                    features.BOXES_FLAT: boxes.ravel(),
                    features.CLASS_IDS: np.int64([2, 0][: len(boxes)]),
                    **{name: np.int64(values[: len(boxes)]) for name, values in flags.items()},
                    features.TRANSFORMED_ID: [f"image {number}".encode()],
                    features.MAX_BOXES: [2],
                    features.BOX_SIZES: np.linspace(0, 1, 21),
                    features.BOX_RATIOS: np.linspace(1, 2, 21),
                }
                example = tf.train.Example()
                for name, values in content.items():
                    example.features.feature[name].CopyFrom(feature(values))
                writer.write(example.SerializeToString())
    return str(tmp_path / "transformed-*")


def test_records_are_what_the_input_pipeline_takes(pattern):
    examples = read_transformed_examples([pattern], features.CANVAS)
    # The two files in turns.
    assert examples.image_ids == [f"image {number}" for number in (0, 3, 1, 4, 2, 5)]
    assert examples.class_ids.tolist() == [2, 0] * 3
    assert (examples.most_boxes, examples.max_boxes) == (2, 2)
    np.testing.assert_allclose(examples.box_sizes, np.linspace(0, 1, 21), rtol=1e-6)
    np.testing.assert_allclose(examples.box_ratios, np.linspace(1, 2, 21), rtol=1e-6)
    for index, record in enumerate(examples.records):
        assert record["image_index"] == index
        number = int(examples.image_ids[index].split()[1])
        assert record["encoded"] == f"canvas {number}".encode()
        np.testing.assert_allclose(record["boxes"], BOXES[number % 2])
        assert record["class_ids"].dtype == tf.int32
    assert index == 5


def test_flags_are_read_if_any_is_set(tmp_path):
    pattern = write(tmp_path, crowd=[0, 1], difficult=[0, 0])
    examples = read_transformed_examples([pattern], features.CANVAS)
    assert examples.class_ids.tolist() == [2] * 3  # a crowd is no object
    assert examples.most_boxes == 2
    for record in examples.records:
        some = len(record["boxes"]) > 0
        assert record["class_ids"].numpy().tolist() == [2, 0] * some
        assert record["crowd"].numpy().tolist() == [False, True] * some
        assert record["difficult"].numpy().tolist() == [False, False] * some


def test_without_flags_the_records_are_those_of_earlier_versions(pattern):
    examples = read_transformed_examples([pattern], features.CANVAS)
    assert set(examples.records.element_spec) == {"encoded", "boxes", "class_ids", "image_index"}


def test_a_limit_takes_the_first_images(pattern):
    examples = read_transformed_examples([pattern], features.CANVAS, limit=3)
    assert len(examples.image_ids) == len(list(examples.records)) == 3
    assert examples.class_ids.tolist() == [2, 0] * 2


def test_no_images_are_an_error(tmp_path):
    path = str(tmp_path / "empty")
    tf.io.TFRecordWriter(path).close()
    with pytest.raises(UserError, match="empty"):
        read_transformed_examples([path], features.CANVAS)


@pytest.mark.parametrize(("factor", "kept"), [(4, True), (3, False)])
def test_records_are_kept_in_memory_if_a_share_of_it_holds_the_files(
    pattern, tmp_path, monkeypatch, caplog, factor, kept
):
    limit = tmp_path / "memory.max"
    files = sum(len(tf.io.gfile.GFile(f, "rb").read()) for f in tf.io.gfile.glob(pattern))
    limit.write_text(f"{files * factor}\n")
    limits = (tmp_path / "absent", limit)
    monkeypatch.setattr("pipeline.training.transformed_examples._CONTAINER_LIMITS", limits)
    caplog.set_level("INFO", "detector")
    records = read_transformed_examples([pattern], features.CANVAS, keep=True).records
    assert ("kept in memory" in caplog.text) == kept
    assert ("reads them from disk" in caplog.text) != kept
    assert ("Cache" in type(records).__name__) == kept


def test_without_a_container_the_whole_machine_counts(pattern, tmp_path, monkeypatch, caplog):
    unlimited = tmp_path / "memory.max"
    unlimited.write_text("max\n")
    monkeypatch.setattr("pipeline.training.transformed_examples._CONTAINER_LIMITS", (unlimited,))
    caplog.set_level("INFO", "detector")
    read_transformed_examples([pattern], features.CANVAS, keep=True)
    assert "kept in memory" in caplog.text


def test_evaluation_reads_the_original_files(pattern):
    for record in read_transformed_examples([pattern], features.IMAGE_ENCODED).records:
        assert record["encoded"].numpy().startswith(b"file ")
