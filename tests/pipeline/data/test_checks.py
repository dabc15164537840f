"""The geometry of boxes, and the size of pictures."""

import io
import random
import struct
import zlib

import pytest
import tensorflow as tf
from PIL import Image

from models.image import decode_image
from pipeline.data.checks import check_boxes, check_size, decoded_size
from pipeline.data.labelled_image import Unusable
from tests.pipeline.data_samples import picture


def claim_of(image_format, width, height):
    """A picture whose header claims a size that no memory could hold."""
    if image_format == "PNG":
        header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(
            ">I", zlib.crc32(header)
        )  # fmt: skip
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    size = struct.pack(">HH", 8, 8)
    return buffer.getvalue().replace(b"\x08" + size, b"\x08" + struct.pack(">HH", height, width))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_a_picture_over_the_limit_is_refused_before_it_is_decoded(image_format):
    with pytest.raises(Unusable) as caught:
        decoded_size(claim_of(image_format, 65500, 64000), 100)
    assert caught.value.kind == "too_large"
    assert caught.value.reason == (
        "65500x64000 pixels are 4192 megapixels; the limit is 100 (data.max_megapixels)"
    )


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_a_picture_at_the_limit_is_decoded(image_format):
    encoded = picture(1, image_format=image_format, size=(50, 40))
    assert decoded_size(encoded, 0.002)[1:] == (50, 40)
    with pytest.raises(Unusable):
        decoded_size(encoded, 0.00199)


def jpegs():
    """Small pictures, one of each kind of coding."""
    picture_ = Image.open(io.BytesIO(picture(3, size=(60, 44))))
    for mode, options in (
        ("RGB", {}),
        ("RGB", {"subsampling": 0, "optimize": True}),
        ("RGB", {"progressive": True}),
        ("RGB", {"restart_marker_rows": 1}),
        ("L", {"progressive": True}),
        ("CMYK", {}),
    ):
        file = io.BytesIO()
        picture_.convert(mode).save(file, "JPEG", **options)
        yield file.getvalue()


def damaged(file, rng):
    """A copy without its end, without a part, or with other bytes."""
    copy = bytearray(file)
    start = rng.randrange(3, len(copy))
    match rng.randrange(3):
        case 0:
            del copy[start:]
        case 1:
            del copy[start : start + rng.randrange(1, 60)]
        case 2:
            for _ in range(rng.choice([1, 3, 20])):
                copy[rng.randrange(3, len(copy))] = rng.randrange(256)
    return bytes(copy)


def test_damaged_pictures_pass_if_and_only_if_they_decode():
    """The check computes an eighth of a JPEG's lines and columns; it must see all damage."""
    rng, verdicts = random.Random(1), {True: 0, False: 0}
    for file in jpegs():
        for _ in range(150):
            copy = damaged(file, rng)
            try:
                height, width, _ = decode_image(tf.constant(copy)).shape
            except tf.errors.OpError:
                verdicts[False] += 1
                with pytest.raises(Unusable):
                    decoded_size(copy, 100)
            else:
                if height * width < 1e6:
                    verdicts[True] += 1
                    assert decoded_size(copy, 100) == ("jpeg", width, height)
    assert min(verdicts.values()) > 200


def test_a_reason_is_short_whatever_was_received():
    reason = Unusable("kind", f"expected a number, received {'x' * 20_000!r} in box 7").reason
    assert len(reason) < 500
    assert reason.startswith("expected a number, received 'xxx")
    assert reason.endswith("xxx' in box 7")


def test_boxes_of_the_whole_image_and_of_one_pixel_are_sound():
    boxes = [(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1 / 24, 1 / 32)]
    assert len(check_boxes(boxes, 32, 24)[0]) == 2


def test_rounding_errors_outside_the_picture_are_clipped():
    assert check_boxes([(-1e-8, -1e-7, 1.0000001, 1.0)], 32, 24) == (((0, 0, 1, 1),), False)


@pytest.mark.parametrize(("size", "by"), [(32, 1), (640, 6.4), (600, 6), (10000, 100)])
def test_a_pixel_or_a_hundredth_outside_is_clipped_and_told(size, by):
    sound = (0.0, 0.0, 0.5, 0.5)
    for box in ((-by / size, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, (size + by) / size)):
        boxes, clipped = check_boxes([sound, box], size, size)
        assert boxes == (sound, tuple(min(max(edge, 0.0), 1.0) for edge in box))
        assert clipped
        further = [edge * 1.2 if edge < 0 else edge + (edge > 1) * 0.2 * by / size for edge in box]
        with pytest.raises(Unusable) as caught:
            check_boxes([sound, further], size, size)
        assert (caught.value.kind, "box 2" in caught.value.reason) == ("box_outside", True)


def test_a_box_of_which_nothing_is_inside_has_no_area():
    with pytest.raises(Unusable) as caught:
        check_boxes([(0.1, 1.001, 0.9, 1.01)], 600, 600)
    assert caught.value.kind == "box_empty"


def test_only_a_size_that_differs_is_unusable():
    check_size(None, (32, 24))
    check_size((32, 24), (32, 24))
    with pytest.raises(Unusable):
        check_size((32, 23), (32, 24))
