import numpy as np
import pytest
import tensorflow as tf

from pipeline import features
from pipeline.errors import UserError
from pipeline.training.transformed_examples import read_transformed_examples

SIDE = 8
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
        path = str(tmp_path / f"transformed-{shard}.gz")
        with tf.io.TFRecordWriter(path, options="GZIP") as writer:
            for index in range(3):
                number = shard * 3 + index
                boxes = BOXES[number % 2]
                canvas = tf.fill([SIDE, SIDE, 3], tf.cast(number, tf.uint8))
                content = {
                    features.CANVAS: [tf.io.serialize_tensor(canvas).numpy()],
                    features.PICTURE: [tf.io.serialize_tensor(canvas[:2, :2]).numpy()],
                    features.BOXES_FLAT + features.RAGGED_VALUES: boxes.ravel(),
                    features.CLASS_IDS + features.RAGGED_VALUES: np.int64([2, 0][: len(boxes)]),
                    **{
                        name + features.RAGGED_VALUES: np.int64(values[: len(boxes)])
                        for name, values in flags.items()
                    },
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
    examples = read_transformed_examples([pattern], features.CANVAS, SIDE)
    assert examples.image_ids == [f"image {number}" for number in range(6)]
    assert examples.class_ids.tolist() == [2, 0] * 3
    assert examples.max_boxes == 2
    np.testing.assert_allclose(examples.box_sizes, np.linspace(0, 1, 21), rtol=1e-6)
    np.testing.assert_allclose(examples.box_ratios, np.linspace(1, 2, 21), rtol=1e-6)
    for index, record in enumerate(examples.records):
        assert record["image_index"] == index
        assert record["canvas"].shape == (SIDE, SIDE, 3)
        assert (record["canvas"].numpy() == index).all()
        np.testing.assert_allclose(record["boxes"], BOXES[index % 2])
        assert record["class_ids"].dtype == tf.int32
    assert index == 5


def test_flags_are_read_if_any_is_set(tmp_path):
    pattern = write(tmp_path, crowd=[0, 1], difficult=[0, 0])
    examples = read_transformed_examples([pattern], features.CANVAS, SIDE)
    assert examples.class_ids.tolist() == [2] * 3  # a crowd is no object
    for index, record in enumerate(examples.records):
        assert record["class_ids"].numpy().tolist() == [[], [2, 0]][index % 2]
        assert record["crowd"].numpy().tolist() == [[], [False, True]][index % 2]
        assert record["difficult"].numpy().tolist() == [[], [False, False]][index % 2]


def test_without_flags_the_records_are_those_of_earlier_versions(pattern):
    examples = read_transformed_examples([pattern], features.CANVAS, SIDE)
    assert set(examples.records.element_spec) == {"canvas", "boxes", "class_ids", "image_index"}


def test_a_limit_takes_the_first_images(pattern):
    examples = read_transformed_examples([pattern], features.CANVAS, SIDE, limit=4)
    assert len(examples.image_ids) == len(list(examples.records)) == 4
    assert examples.class_ids.tolist() == [2, 0] * 2


def test_no_images_are_an_error(tmp_path):
    path = str(tmp_path / "empty.gz")
    tf.io.TFRecordWriter(path, options="GZIP").close()
    with pytest.raises(UserError, match=r"empty\.gz"):
        read_transformed_examples([path], features.CANVAS, SIDE)


@pytest.mark.parametrize(("factor", "kept"), [(4, True), (3, False)])
def test_pictures_are_kept_in_memory_if_a_share_of_it_holds_them(
    pattern, tmp_path, monkeypatch, caplog, factor, kept
):
    limit = tmp_path / "memory.max"
    limit.write_text(f"{6 * SIDE**2 * 3 * factor}\n")
    files = (tmp_path / "absent", limit)
    monkeypatch.setattr("pipeline.training.transformed_examples._CONTAINER_LIMITS", files)
    caplog.set_level("INFO", "detector")
    records = read_transformed_examples([pattern], features.CANVAS, SIDE).records
    assert ("kept in memory" in caplog.text) == kept
    assert ("reads them from disk" in caplog.text) != kept
    assert ("Cache" in type(records).__name__) == kept


def test_without_a_container_the_whole_machine_counts(pattern, tmp_path, monkeypatch, caplog):
    unlimited = tmp_path / "memory.max"
    unlimited.write_text("max\n")
    monkeypatch.setattr("pipeline.training.transformed_examples._CONTAINER_LIMITS", (unlimited,))
    caplog.set_level("INFO", "detector")
    read_transformed_examples([pattern], features.CANVAS, SIDE)
    assert "kept in memory" in caplog.text


def test_evaluation_reads_the_pictures_of_the_inputs_size(pattern):
    records = read_transformed_examples([pattern], features.PICTURE, 2).records
    for index, record in enumerate(records):
        assert record["canvas"].shape == (2, 2, 3)
        assert (record["canvas"].numpy() == index).all()
