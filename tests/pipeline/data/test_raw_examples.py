import numpy as np
import pytest

from pipeline.data.raw_examples import labelled_pictures
from tests.pipeline.tiny_detector import picture

BOXES = np.array([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1]], np.float32)


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
