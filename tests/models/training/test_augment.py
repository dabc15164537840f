import numpy as np
import pytest
import tensorflow as tf

from models.settings import Augmentation
from models.training.augment import boxes_in_windows, jitter_colors, random_windows, sample_windows

FULL = [0.0, 0.0, 1.0, 1.0]
WINDOWS = {
    "full": FULL,
    "mirrored": [0.0, 1.0, 1.0, 0.0],
    "crop": [0.1, 0.3, 0.7, 0.8],
    "crop at the edge": [0.0, 0.3, 0.7, 1.0],
    "mirrored crop": [0.1, 0.8, 0.7, 0.3],
    "zoomed out": [-0.4, -0.1, 1.1, 1.4],
    "mirrored, zoomed out": [-0.4, 1.4, 1.1, -0.1],
}
EVERYTHING = Augmentation(
    flip=True,
    crop_probability=0.5,
    zoom_out_probability=0.3,
    brightness=0.2,
    contrast=0.3,
    saturation=0.4,
    white_balance=0.1,
)


def eagerly(function, *tensors):
    return [np.asarray(output) for output in tf.nest.flatten(function(*tensors))]


def inside_tf_data(function, *tensors):
    dataset = tf.data.Dataset.from_tensors(tensors).map(function)
    return [np.asarray(output) for output in tf.nest.flatten(next(iter(dataset)))]


both_ways = pytest.mark.parametrize("run", [eagerly, inside_tf_data])


@both_ways
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_boxes_and_pixels_move_together(window, run):
    """A red rectangle: its box, moved, is where the red pixels are."""
    canvas = np.zeros((1, 200, 200, 3), np.uint8)
    canvas[0, 70:120, 80:110, 0] = 255
    box = np.float32([[70 / 200, 80 / 200, 120 / 200, 110 / 200]])

    def show(canvas, box, window):
        moved, keep = boxes_in_windows(box[None], window[None], 0.5)
        return sample_windows(canvas, window[None], 128), moved[0], keep[0]

    pixels, moved, keep = run(show, tf.constant(canvas), tf.constant(box), tf.constant(window))
    assert keep.all()
    red = (pixels[0, ..., 0] > 127.5) & (pixels[0, ..., 2] < 100)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    seen = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
    np.testing.assert_allclose(seen, moved[0] * 128, atol=1.0)


@pytest.mark.parametrize("size", [300, 336, 400])
def test_the_full_window_is_a_plain_resize(size):
    canvas = np.random.default_rng(0).integers(0, 256, (2, 336, 336, 3), np.uint8)
    expected = tf.image.resize(canvas, [size, size]).numpy()
    received = sample_windows(tf.constant(canvas), tf.constant([FULL] * 2), size).numpy()
    np.testing.assert_allclose(received, expected, atol=1.0)
    mirrored = sample_windows(tf.constant(canvas), tf.constant([WINDOWS["mirrored"]] * 2), size)
    np.testing.assert_allclose(mirrored.numpy(), expected[:, :, ::-1], atol=1.0)


@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.8, 0.8), (0.0, 0.8)])
def test_a_crop_at_the_edge_shows_no_gray(corner):
    canvas = np.full((1, 100, 100, 3), 10, np.uint8)
    window = tf.constant([[corner[0], corner[1], corner[0] + 0.2, corner[1] + 0.2]])
    np.testing.assert_allclose(sample_windows(tf.constant(canvas), window, 160), 10, atol=1e-3)


def test_beyond_the_canvas_is_gray():
    canvas = np.zeros((1, 100, 100, 3), np.uint8)
    pixels = sample_windows(tf.constant(canvas), tf.constant([[-1.0, -1.0, 1.0, 1.0]]), 50)
    assert (pixels.numpy()[0, :24] == 127.5).all()
    assert (pixels.numpy()[0, 26:, 26:] == 0).all()


def test_boxes_are_clipped_and_barely_visible_ones_are_dropped():
    boxes = tf.constant(
        [
            [0.2, 0.2, 0.4, 0.4],  # inside
            [0.4, 0.2, 0.56, 0.4],  # 5/8 visible
            [0.45, 0.2, 0.6, 0.4],  # its center is outside
            [0.6, 0.6, 0.8, 0.8],  # outside
            [0.0, 0.0, 1.0, 1.0],  # around it: a quarter of it is visible
        ]
    )
    window = tf.constant([[0.0, 0.0, 0.5, 0.5]])
    (moved,), (keep,) = boxes_in_windows(boxes[None], window, 0.25)
    assert keep.numpy().tolist() == [True, True, False, False, True]
    np.testing.assert_allclose(moved[1], [0.8, 0.4, 1.0, 0.8], atol=1e-6)
    np.testing.assert_allclose(moved[4], FULL)
    _, (strict,) = boxes_in_windows(boxes[None], window, 0.7)
    assert strict.numpy().tolist() == [True, False, False, False, False]


def choose(boxes, settings, seed):
    boxes = tf.cast(boxes, tf.float32)
    return random_windows(boxes, boxes[..., 2] > 0, settings, tf.constant(seed, tf.int64))


@both_ways
def test_windows_follow_their_seed(run):
    boxes = [[[0.2, 0.2, 0.6, 0.5]]] * 12
    windows, again, others = (
        run(lambda boxes, seed=seed: choose(boxes, EVERYTHING, seed), tf.constant(boxes))[0]
        for seed in ([1, 5], [1, 5], [1, 6])
    )
    np.testing.assert_array_equal(windows, again)
    assert not np.array_equal(windows, others)
    assert len(np.unique(windows, axis=0)) > 6  # each image has its own


def test_kinds_of_windows_have_their_shares():
    windows = choose([[[0.3, 0.3, 0.6, 0.6]]] * 600, EVERYTHING, [5, 1]).numpy()
    top, bottom = windows[:, 0], windows[:, 2]
    left, right = windows[:, [1, 3]].min(axis=1), windows[:, [1, 3]].max(axis=1)
    size = np.stack([bottom - top, right - left], axis=1)
    zoomed = size.max(axis=1) > 1.0001
    assert 0.22 < zoomed.mean() < 0.38
    assert 0.4 < (windows[:, 1] > windows[:, 3]).mean() < 0.6
    full = (size == 1).all(axis=1)
    assert 0.12 < full.mean() < 0.35
    assert (size[zoomed] <= EVERYTHING.zoom_out_max + 1e-5).all()
    np.testing.assert_allclose(size[zoomed, 0], size[zoomed, 1], atol=1e-5)
    assert (top[zoomed] <= 0).all()
    assert (bottom[zoomed] >= 1 - 1e-5).all()
    crops = windows[~zoomed]
    assert crops.min() >= 0
    assert crops.max() <= 1
    assert (size[~zoomed].prod(axis=1) >= EVERYTHING.crop_min_area - 1e-3).all()


def test_large_crops_keep_their_least_area():
    settings = Augmentation(crop_probability=1.0, crop_min_area=0.8)
    boxes, valid = tf.zeros([400, 1, 4]), tf.zeros([400, 1], tf.bool)
    windows = random_windows(boxes, valid, settings, tf.constant([1, 2])).numpy()
    size = windows[:, 2:] - windows[:, :2]
    assert (size.prod(axis=1) >= 0.8 - 1e-3).all()
    assert (size <= 1 + 1e-6).all()


def test_a_crop_leaves_some_object_visible_and_ignores_padding():
    settings = Augmentation(crop_probability=1.0)
    boxes = [[[0.7, 0.7, 0.9, 0.9], [0.0, 0.0, 0.0, 0.0]]] * 200
    windows = choose(boxes, settings, [0, 0]).numpy()
    overlap = np.minimum(windows[:, 2:], 0.9) - np.maximum(windows[:, :2], 0.7)
    visible = np.maximum(overlap, 0).prod(axis=1) / 0.04
    assert visible.min() >= 0.1 - 1e-4
    assert (visible < 0.95).any()
    assert (windows[:, :2] > 0.3).all(axis=1).any()


def test_an_image_without_objects_can_be_cropped():
    windows = choose(np.zeros((50, 2, 4)), Augmentation(crop_probability=1.0), [0, 3]).numpy()
    assert windows.min() >= 0
    assert np.mean((windows[:, 2:] - windows[:, :2]).prod(axis=1) < 0.9) > 0.7


def test_the_default_changes_nothing():
    np.testing.assert_array_equal(choose(np.ones((2, 1, 4)), Augmentation(), [0, 0]), [FULL] * 2)
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    same = jitter_colors(tf.constant(images), Augmentation(), tf.constant([0, 0], tf.int64))
    np.testing.assert_allclose(same, images, atol=1e-3)


@both_ways
def test_colours_vary_image_by_image_within_range(run):
    images = np.full((3, 6, 6, 3), (200, 120, 40), np.float32)

    def jitter(images):
        return jitter_colors(images, EVERYTHING, tf.constant([3, 4], tf.int64))

    (jittered,) = run(jitter, tf.constant(images))
    assert jittered.shape == images.shape
    assert jittered.min() >= 0
    assert jittered.max() <= 255
    assert len(np.unique(jittered[:, 0, 0, 0])) == 3
    # One change for all pixels of an image.
    assert (np.ptp(jittered, axis=(1, 2)) < 1e-3).all()
    np.testing.assert_array_equal(jittered, run(jitter, tf.constant(images))[0])


def test_saturation_keeps_the_luma():
    images = np.random.default_rng(0).uniform(80, 170, (4, 5, 5, 3)).astype(np.float32)
    settings = Augmentation(saturation=0.5)
    jittered = jitter_colors(tf.constant(images), settings, tf.constant([0, 1], tf.int64)).numpy()
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(jittered @ luma, images @ luma, atol=0.01)
    assert np.abs(jittered - images).max() > 1
