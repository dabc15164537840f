"""The Transform component on a few pictures."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from google.protobuf import text_format
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from models.image import decode_and_resize, decode_canvas, decode_image
from pipeline import features
from pipeline.beam_options import IN_PROCESS
from pipeline.data.schema import make_schema
from pipeline.data.transform import CLASS_COUNTS_VOCABULARY, PREPROCESSING_FN, TransformExecutor
from pipeline.training.transformed_examples import read_transformed_examples
from tests.pipeline.tiny_detector import picture, raw_example

NAMES = ["rabbit", "cat", "dog"]
OBJECTS = [
    ([[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0]], ["dog", "rabbit"]),
    ([], []),
    ([[0.25, 0.25, 0.35, 0.35]], ["dog"]),
]
# The last training picture also has a crowd larger than any object, and one that is smaller.
CROWDED = (
    [*OBJECTS[2][0], [0.0, 0.0, 1.0, 1.0], [0.4, 0.4, 0.41, 0.45]],
    ["dog", "cat", "cat"],
    {features.CROWD: [0, 1, 1], features.DIFFICULT: [1, 0, 0]},
)
EVAL_OBJECTS = [([[0.1, 0.1, 0.2, 0.9]] * 3, ["cat"] * 3)]
CANVAS_SIZE = 32


def write_split(folder, objects, first, files):
    """Writes the pictures of a split to some files in turns."""
    folder.mkdir(parents=True)
    for number in range(files):
        path = str(folder / f"data_tfrecord-{number:05d}-of-{files:05d}")
        with tf.io.TFRecordWriter(path) as writer:
            for index in range(number, len(objects), files):
                name = first + index
                writer.write(raw_example(f"picture {name}", picture(name), *objects[index]))


def run_transform(folder):
    """The outputs of the component on two training files and one to evaluate on."""
    examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
    examples.uri, schema.uri = str(folder / "examples"), str(folder / "schema")
    examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    write_split(folder / "examples" / "Split-train", [*OBJECTS[:2], CROWDED], 0, files=2)
    write_split(folder / "examples" / "Split-eval", EVAL_OBJECTS, 3, files=1)
    (folder / "schema").mkdir()
    text = text_format.MessageToString(make_schema(NAMES))
    (folder / "schema" / "schema.pbtxt").write_text(text)
    graph, transformed = standard_artifacts.TransformGraph(), standard_artifacts.Examples()
    graph.uri, transformed.uri = str(folder / "graph"), str(folder / "transformed")
    TransformExecutor(BaseBeamExecutor.Context(beam_pipeline_args=list(IN_PROCESS))).Do(
        {"examples": [examples], "schema": [schema]},
        {"transform_graph": [graph], "transformed_examples": [transformed]},
        {
            "preprocessing_fn": PREPROCESSING_FN,
            "disable_statistics": 1,
            "force_tf_compat_v1": 0,
            "custom_config": f'{{"canvas_size": {CANVAS_SIZE}}}',
        },
    )
    return transformed, graph


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return run_transform(tmp_path_factory.mktemp("transform"))


def rows(transformed, split):
    """The features of the transformed examples of a split, by id."""
    found = {}
    for path in sorted(Path(transformed.uri, f"Split-{split}").iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            row = tf.train.Example.FromString(record).features.feature
            found[row[features.TRANSFORMED_ID].bytes_list.value[0].decode()] = row
    return [found[name] for name in sorted(found)]


@pytest.mark.slow
def test_training_gets_canvases_close_to_what_serving_would_see(outputs):
    for index, row in enumerate(rows(outputs[0], "train")):
        canvas = decode_canvas(row[features.CANVAS].bytes_list.value[0])
        expected = decode_and_resize(picture(index), CANVAS_SIZE)
        assert canvas.shape == expected.shape
        assert tf.image.psnr(canvas, expected, 255) > 40
        assert features.IMAGE_ENCODED not in row


@pytest.mark.slow
def test_evaluation_gets_the_original_files(outputs):
    [row] = rows(outputs[0], "eval")
    assert row[features.IMAGE_ENCODED].bytes_list.value == [picture(3)]
    assert features.CANVAS not in row


@pytest.mark.slow
def test_files_are_those_of_the_raw_examples(outputs):
    transformed, _ = outputs
    assert artifact_utils.decode_split_names(transformed.split_names) == ["train", "eval"]
    names = [path.name for path in sorted(Path(transformed.uri, "Split-train").iterdir())]
    assert names == ["data_tfrecord-00000-of-00002", "data_tfrecord-00001-of-00002"]


@pytest.mark.slow
def test_boxes_stay_and_classes_become_positions_in_the_schema(outputs):
    written = [*OBJECTS[:2], CROWDED[:2], *EVAL_OBJECTS]
    found = rows(outputs[0], "train") + rows(outputs[0], "eval")
    for (boxes, labels), row in zip(written, found, strict=True):
        flat = row[features.BOXES_FLAT].float_list.value
        np.testing.assert_allclose(np.reshape(flat, (-1, 4)), np.reshape(boxes, (-1, 4)), atol=1e-6)
        ids = row[features.CLASS_IDS].int64_list.value
        assert list(ids) == [NAMES.index(label) for label in labels]


@pytest.mark.slow
def test_every_object_has_its_flags(outputs):
    flags = [
        [list(row[name].int64_list.value) for name in (features.IS_DIFFICULT, features.IS_CROWD)]
        for split in ("train", "eval")
        for row in rows(outputs[0], split)
    ]
    assert flags == [[[0, 0]] * 2, [[], []], [[1, 0, 0], [0, 1, 1]], [[0, 0, 0]] * 2]


@pytest.mark.slow
def test_every_example_carries_the_statistics_of_all_training_examples(outputs):
    transformed, graph = outputs
    for row in rows(transformed, "train") + rows(transformed, "eval"):
        assert list(row[features.MAX_BOXES].int64_list.value) == [3]
        sizes = list(row[features.BOX_SIZES].float_list.value)
        assert len(sizes) == 21
        assert sizes == sorted(sizes)
        assert (sizes[0], sizes[-1]) == (pytest.approx(0.1), pytest.approx(1.0))
        ratios = list(row[features.BOX_RATIOS].float_list.value)
        assert len(ratios) == 21
        heights_by_width = [(b[2] - b[0]) / (b[3] - b[1]) for boxes, _ in OBJECTS for b in boxes]
        assert (ratios[0], ratios[-1]) == pytest.approx(
            (min(heights_by_width), max(heights_by_width)), rel=1e-4
        )
    path = tft.TFTransformOutput(graph.uri).vocabulary_file_by_name(CLASS_COUNTS_VOCABULARY)
    counts = dict(line.split()[::-1] for line in Path(path).read_text().splitlines())
    assert counts == {"dog": "2", "rabbit": "1"}


@pytest.mark.slow
def test_the_trainer_reads_what_it_writes(outputs):
    transformed, _ = outputs
    for split, picture_feature in (("train", features.CANVAS), ("eval", features.IMAGE_ENCODED)):
        pattern = f"{transformed.uri}/Split-{split}/*"
        examples = read_transformed_examples([pattern], picture_feature)
        objects = OBJECTS if split == "train" else EVAL_OBJECTS
        assert sum(len(labels) for _, labels in objects) == len(examples.class_ids)
        for record in examples.records:
            decode_image(record["encoded"])


@pytest.mark.slow
def test_another_run_writes_the_same_bytes(outputs, tmp_path):
    again, _ = run_transform(tmp_path)
    for path in Path(outputs[0].uri).rglob("data*"):
        other = Path(again.uri, path.relative_to(outputs[0].uri))
        assert path.read_bytes() == other.read_bytes()
