import numpy as np
import pytest
import tensorflow as tf

from models.settings import Augmentation
from models.training.mosaic import with_mosaics, with_room

SIDE = 40


def batch(count=5):
    """One gray level a picture, whose left half is a box of the class of its number."""
    canvases = np.stack([np.full((SIDE, SIDE, 3), 40 * n + 20, np.uint8) for n in range(count)])
    boxes = np.tile(np.float32([[0, 0, 1, 0.5], [0, 0, 0, 0]]), (count, 1, 1))
    class_ids = np.stack([np.arange(count), np.full(count, -1)], axis=1).astype(np.int32)
    return {
        "canvas": tf.constant(canvases),
        "boxes": tf.constant(boxes),
        "class_ids": tf.constant(class_ids),
        "image_index": tf.range(count),
    }


def mosaics(size, count=2, augmentation=None):
    seed = tf.constant([1, 2], tf.int64)
    return with_mosaics(batch(), size, augmentation or Augmentation(), seed, count)


@pytest.mark.parametrize("size", [40, 41])
def test_a_mosaic_shows_four_pictures_with_their_boxes(size):
    images, boxes, class_ids = map(np.asarray, mosaics(size))
    assert images.shape == (5, size, size, 3)
    assert images.dtype == np.uint8
    side = -(-size // 2)
    for first in range(2):
        for number, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            quarter = images[first, y * side : (y + 1) * side, x * side : (x + 1) * side]
            assert (quarter == 40 * ((first + number) % 5) + 20).all()
            row = 2 * number
            assert class_ids[first, row] == (first + number) % 5
            expected = np.minimum(np.array([y, x, y + 1, x + 0.5]) * side / size, 1)
            np.testing.assert_allclose(boxes[first, row], expected, atol=1e-6)
    assert (class_ids[:2, 1::2] == -1).all()


def test_the_other_images_are_single_views_with_room_for_as_many_boxes():
    images, boxes, class_ids = map(np.asarray, mosaics(SIDE))
    assert (images[2:] == (40 * np.arange(2, 5) + 20)[:, None, None, None]).all()
    np.testing.assert_array_equal(class_ids[2:, 0], [2, 3, 4])
    assert (class_ids[2:, 1:] == -1).all()
    assert boxes.shape == (5, 8, 4)


def test_the_views_of_a_mosaic_are_augmented_each_by_itself():
    augmentation = Augmentation(flip=True, crop_probability=1.0, brightness=0.3)
    images, _, _ = map(np.asarray, mosaics(SIDE, 5, augmentation))
    # Picture 1 is the second quarter of the first mosaic and the first of the second one.
    assert not np.array_equal(images[0, :20, 20:], images[1, :20, :20])


def test_room_is_made_with_padding():
    picture = tf.zeros([1, 4, 4, 3], tf.uint8)
    _, boxes, class_ids = with_room(picture, tf.ones([1, 2, 4]), tf.constant([[3, -1]]), 4)
    np.testing.assert_array_equal(class_ids, [[3, -1, -1, -1]])
    np.testing.assert_array_equal(boxes[0, :, 0], [1, 1, 0, 0])
