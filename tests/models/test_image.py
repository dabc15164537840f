import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.image import decode_and_resize, decode_canvas, decode_image, encode_canvas, resize


def encode(mode="RGB", kind="JPEG", size=(40, 30)):
    ramp = np.linspace(0, 255, size[0] * size[1]).reshape(size[1], size[0]).astype(np.uint8)
    image = Image.merge(
        "RGB", [Image.fromarray(channel) for channel in (ramp, ramp.T.copy().T, 255 - ramp)]
    )
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGB", "PNG"),
        ("L", "PNG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
    ],
)
def test_every_kind_of_picture_becomes_rgb(mode, kind):
    encoded = encode(mode, kind)
    image = decode_image(encoded).numpy()
    assert image.shape == (30, 40, 3)
    assert image.dtype == np.uint8
    reference = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"), np.int32)
    tolerance = 0 if kind == "PNG" else 12
    assert np.abs(image - reference).max() <= tolerance


@pytest.mark.parametrize("broken", [b"", b"no picture", encode()[:100]])
def test_undecodable_bytes_are_an_error(broken):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(broken)


def test_graph_and_eager_agree():
    encoded = encode()
    dataset = tf.data.Dataset.from_tensors(encoded).map(lambda e: decode_and_resize(e, 24))
    assert dataset.element_spec == tf.TensorSpec([24, 24, 3], tf.uint8)
    np.testing.assert_array_equal(next(iter(dataset)), decode_and_resize(encoded, 24))


def test_shrinking_averages():
    stripes = np.zeros((100, 100, 3), np.uint8)
    stripes[::2] = 255
    inner = resize(tf.constant(stripes), 10).numpy()[1:-1, 1:-1]
    assert np.abs(inner.astype(int) - 127).max() <= 15


def test_resizing_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(resize(tf.constant(image), 32), image)


def test_a_canvas_keeps_its_pixels_up_to_rounding():
    noise = np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8)
    image = resize(noise, 96)
    canvas = decode_canvas(encode_canvas(image))
    assert canvas.dtype == tf.uint8
    difference = tf.cast(canvas, tf.float32) - tf.cast(image, tf.float32)
    # The fast transform is darker by 0.8.
    assert abs(tf.reduce_mean(difference)) < 0.2
    assert tf.image.psnr(canvas, image, 255) > 40
    assert len(encode_canvas(image).numpy()) < 96 * 96 * 3 / 2
