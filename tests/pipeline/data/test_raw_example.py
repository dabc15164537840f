"""The tf.Example of a labelled image, and its picture back out of it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pipeline import features
from pipeline.data.labelled_image import LabelledImage
from pipeline.data.raw_example import labelled_pictures, read_flags, to_example
from tests.pipeline.data_samples import picture

BOXES = np.array([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1]], np.float32)


def test_every_feature_has_its_kind_and_value():
    boxes = ((0.25, 0.25, 0.5, 1.0), (0.0, 0.0, 1.0, 1.0))
    image = LabelledImage("a", "a.jpg", picture(1), "jpeg", 24, 32, boxes, ("cat", "dög"))
    parsed = tf.io.parse_single_example(
        to_example(image).SerializeToString(),
        {key: tf.io.VarLenFeature(tf.float32) for key in features.BOX}
        | {
            features.CLASS_TEXT: tf.io.VarLenFeature(tf.string),
            features.IMAGE_HEIGHT: tf.io.FixedLenFeature([1], tf.int64),
            features.IMAGE_WIDTH: tf.io.FixedLenFeature([1], tf.int64),
            features.IMAGE_ENCODED: tf.io.FixedLenFeature([1], tf.string),
            features.IMAGE_FORMAT: tf.io.FixedLenFeature([1], tf.string),
            features.IMAGE_FILENAME: tf.io.FixedLenFeature([1], tf.string),
            features.SOURCE_ID: tf.io.FixedLenFeature([1], tf.string),
            features.IMAGE_SHA256: tf.io.FixedLenFeature([1], tf.string),
        },
    )
    edges = [parsed[key].values.numpy().tolist() for key in features.BOX]
    assert edges == [[0.25, 0.0], [0.25, 0.0], [0.5, 1.0], [1.0, 1.0]]
    assert parsed[features.CLASS_TEXT].values.numpy().tolist() == [b"cat", "dög".encode()]
    single = {key: parsed[key].numpy().item() for key in features.REQUIRED}
    assert single == {
        features.IMAGE_ENCODED: image.encoded,
        features.IMAGE_FORMAT: b"jpeg",
        features.IMAGE_FILENAME: b"a.jpg",
        features.SOURCE_ID: b"a",
        features.IMAGE_SHA256: image.sha256.encode(),
        features.IMAGE_HEIGHT: 24,
        features.IMAGE_WIDTH: 32,
    }


def test_flags_are_written_only_where_one_is_set():
    boxes = ((0.25, 0.25, 0.5, 1.0), (0.0, 0.0, 1.0, 1.0))
    image = LabelledImage("a", "a.jpg", picture(1), "jpeg", 24, 32, boxes, ("cat", "dog"))
    plain = to_example(image)
    assert not set(plain.features.feature) & set(features.FLAGS)
    assert [flags.tolist() for flags in read_flags(plain)] == [[False, False]] * 2
    flagged = to_example(dataclasses.replace(image, crowd=(False, True)))
    assert flagged.features.feature[features.CROWD].int64_list.value == [0, 1]
    assert features.DIFFICULT not in flagged.features.feature
    assert [flags.tolist() for flags in read_flags(flagged)] == [[False] * 2, [False, True]]


def test_a_negative_has_the_same_features_without_values():
    image = LabelledImage("a", "a.jpg", picture(1), "jpeg", 24, 32, (), ())
    feature = to_example(image).features.feature
    assert set(feature) == {*features.REQUIRED, *features.BOX, features.CLASS_TEXT}
    assert feature[features.CLASS_TEXT].WhichOneof("kind") == "bytes_list"
    assert all(feature[key].WhichOneof("kind") == "float_list" for key in features.BOX)
    assert not any(feature[key].float_list.value for key in features.BOX)


@pytest.mark.parametrize("count", [1, 3, 100])
def test_the_first_pictures_as_they_were_found(examples_artifact, write_examples, count):
    pictures = [picture(seed) for seed in range(5)]
    write_examples(
        examples_artifact, [(str(seed), encoded, [], []) for seed, encoded in enumerate(pictures)]
    )
    expected = pictures[::-1]  # the fixture writes back to front
    found = labelled_pictures(examples_artifact, "eval", count)
    assert [one.encoded for one in found] == expected[:count]


def test_pictures_come_with_their_objects(examples_artifact, write_examples):
    write_examples(
        examples_artifact, [("a", picture(0), [], []), ("b", picture(1), BOXES, ["cat", "dog"])]
    )
    labelled, empty = labelled_pictures(examples_artifact, "eval", 2)
    np.testing.assert_array_equal(labelled.boxes, BOXES)
    assert labelled.labels == ["cat", "dog"]
    assert empty.boxes.shape == (0, 4)
    assert empty.labels == []
