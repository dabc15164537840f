"""`preprocessing_fn` in TFT's own harness, without TFX."""

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tfx_bsl.tfxio import tf_example_record

from models.image import decode_and_resize
from pipeline import features
from pipeline.data.schema import make_schema
from pipeline.data.transform import CLASS_COUNTS_VOCABULARY, preprocessing_fn
from tests.pipeline.tiny_detector import picture, raw_example

NAMES = ["rabbit", "cat", "dog"]
OBJECTS = [
    ([[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0]], ["dog", "rabbit"]),
    ([], []),
    ([[0.25, 0.25, 0.35, 0.35]], ["dog"]),
]
# Of the last picture: a crowd is larger than any object, and another one smaller.
CROWDS = [[0.0, 0.0, 1.0, 1.0], [0.4, 0.4, 0.41, 0.45]]


@pytest.fixture(scope="module")
def transformed(tmp_path_factory):
    """The transformed features of three pictures, and the transform's output."""
    records = [
        raw_example(f"picture {index}", picture(index), boxes, labels)
        for index, (boxes, labels) in enumerate(OBJECTS[:2])
    ]
    boxes, labels = OBJECTS[2]
    flags = {features.CROWD: [0, 1, 1], features.DIFFICULT: [1, 0, 0]}
    records.append(
        raw_example("picture 2", picture(2), boxes + CROWDS, [*labels, "cat", "cat"], flags)
    )
    schema = make_schema(NAMES)
    source = tf_example_record.TFExampleBeamRecord(
        physical_format="inmem", schema=schema, telemetry_descriptors=["test"]
    )
    folder = tmp_path_factory.mktemp("transform")
    rows = []
    options = beam.options.pipeline_options.PipelineOptions(["--runner=FnApiRunner"])
    with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        batches = pipeline | beam.Create(records) | source.BeamSource()
        config = {"canvas_size": 32, "input_size": 24, "class_names": NAMES}
        data, function = (
            batches,
            source.TensorAdapterConfig(),
        ) | tft_beam.AnalyzeAndTransformDataset(lambda inputs: preprocessing_fn(inputs, config))
        _ = function | tft_beam.WriteTransformFn(str(folder / "out"))
        encoder = tft.coders.ExampleProtoCoder(data[1].schema)
        _ = data[0] | beam.Map(encoder.encode) | beam.io.WriteToTFRecord(str(folder / "examples"))
    for record in tf.data.TFRecordDataset(tf.io.gfile.glob(str(folder / "examples*"))):
        rows.append(tf.train.Example.FromString(record.numpy()).features.feature)
    rows.sort(key=lambda row: row[features.TRANSFORMED_ID].bytes_list.value[0])
    return rows, tft.TFTransformOutput(str(folder / "out"))


@pytest.mark.slow
def test_canvases_are_what_serving_would_see(transformed):
    rows, _ = transformed
    for index, row in enumerate(rows):
        canvas = tf.io.parse_tensor(row[features.CANVAS].bytes_list.value[0], tf.uint8)
        np.testing.assert_array_equal(canvas, decode_and_resize(picture(index), 32))
        seen = tf.io.parse_tensor(row[features.PICTURE].bytes_list.value[0], tf.uint8)
        np.testing.assert_array_equal(seen, decode_and_resize(picture(index), 24))


@pytest.mark.slow
def test_boxes_stay_and_classes_become_positions_in_the_schema(transformed):
    rows, _ = transformed
    crowded = (OBJECTS[2][0] + CROWDS, ["dog", "cat", "cat"])
    for (boxes, labels), row in zip([*OBJECTS[:2], crowded], rows, strict=True):
        flat = row[features.BOXES_FLAT + features.RAGGED_VALUES].float_list.value
        np.testing.assert_allclose(np.reshape(flat, (-1, 4)), np.reshape(boxes, (-1, 4)), atol=1e-6)
        ids = row[features.CLASS_IDS + features.RAGGED_VALUES].int64_list.value
        assert list(ids) == [NAMES.index(label) for label in labels]


@pytest.mark.slow
def test_every_object_has_its_flags(transformed):
    rows, _ = transformed
    flags = [
        [
            list(row[name + features.RAGGED_VALUES].int64_list.value)
            for name in (features.IS_DIFFICULT, features.IS_CROWD)
        ]
        for row in rows
    ]
    assert flags == [[[0, 0], [0, 0]], [[], []], [[1, 0, 0], [0, 1, 1]]]


@pytest.mark.slow
def test_every_example_carries_the_statistics_of_all(transformed):
    rows, output = transformed
    for row in rows:
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
    path = output.vocabulary_file_by_name(CLASS_COUNTS_VOCABULARY)
    counts = dict(line.split()[::-1] for line in Path(path).read_text().splitlines())
    assert counts == {"dog": "2", "rabbit": "1"}
