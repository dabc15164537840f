import io

import numpy as np
import pytest
from PIL import Image

from models.image import decode_image
from pipeline.data.conversion import as_png
from pipeline.data.labelled_image import Unusable
from tests.pipeline.data_samples import picture

FORMATS = ("BMP", "GIF", "TIFF", "WEBP")
NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 4), np.uint8)


def encode(image, image_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def kind_of(encoded, max_megapixels=100.0):
    with pytest.raises(Unusable) as error:
        as_png(encoded, max_megapixels)
    return error.value.kind


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
def test_pixels_stay_and_transparency_is_ignored(image_format, mode):
    if (image_format, mode) == ("GIF", "RGBA"):
        pytest.skip("a GIF keeps no colour where it is transparent")
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    encoded = encode(Image.fromarray(NOISE, "RGBA").convert(mode), image_format, **options)
    expected = Image.open(io.BytesIO(encoded)).convert("RGBA")
    png = as_png(encoded, 1.0)
    np.testing.assert_array_equal(decode_image(png), np.asarray(expected)[..., :3])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_what_tensorflow_reads_stays_as_it_is(image_format):
    assert as_png(picture(1, image_format=image_format), 1.0) is None


@pytest.mark.parametrize("content", [b"", b"B", b"RIFF1234WAVE", b"hello"])
def test_other_files_are_none_of_these(content):
    assert as_png(content, 1.0) is None


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_a_truncated_picture_is_unusable(image_format, share):
    whole = encode(Image.fromarray(NOISE[..., :3]), image_format)
    assert kind_of(whole[: max(int(len(whole) * share), 12)]) == "unreadable_image"


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_picture_over_the_limit_is_not_decoded(image_format):
    assert kind_of(picture(1, image_format=image_format), 0.0007) == "too_large"


@pytest.mark.parametrize("image_format", ["GIF", "TIFF", "WEBP"])
def test_several_frames_are_not_one_picture(image_format):
    frames = [Image.fromarray(NOISE[..., :3]), Image.fromarray(255 - NOISE[..., :3])]
    encoded = encode(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert kind_of(encoded) == "several_frames"


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_more_than_eight_bits_are_not_guessed_at(dtype):
    assert kind_of(encode(Image.fromarray(NOISE[..., 0].astype(dtype)), "TIFF")) == "deep_colour"


def test_exif_data_that_turn_it_are_refused():
    turned = Image.Exif()
    turned[0x0112] = 6
    assert kind_of(encode(Image.fromarray(NOISE[..., :3]), "WEBP", exif=turned)) == "turned"
