"""A photograph that EXIF data turn becomes the same example as the one that is stored upright."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from models.image import decode_image, orientation_of, upright, upright_boxes
from pipeline.data.census import Checked
from pipeline.data.labelled_image import LabelledImage
from pipeline.data.orientation import annotated_size, set_upright
from pipeline.data.readers.tfrecord import ShardItem, read_shard
from pipeline.data.readers.voc import VocItem, read_annotation
from tests.pipeline.data_samples import CAT, VocFolder, od_record, picture, serialize, write_records

WIDTH, HEIGHT = 48, 32  # of the upright picture
BOX = (0.125, 0.25, 0.5, 0.75)
# The upright picture, and by orientation how Pillow stores it.
UPRIGHT = Image.open(io.BytesIO(picture(3, image_format="PNG", size=(WIDTH, HEIGHT))))
STORED_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
SWAPPED = (5, 6, 7, 8)


def photograph(orientation, order="II"):
    """The file that a camera would write."""
    stored = UPRIGHT.transpose(STORED_BY[orientation]) if orientation in STORED_BY else UPRIGHT
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
    return buffer.getvalue()


def labelled(encoded, width=WIDTH, height=HEIGHT, box=BOX):
    return LabelledImage("a", "a.jpg", encoded, "jpeg", height, width, (box,), ("cat",))


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_and_applied_as_pillow_does(orientation, order):
    encoded = photograph(orientation, order)
    assert orientation_of(encoded) == orientation
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))
    received = upright(decode_image(encoded).numpy(), orientation)
    assert received.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(received.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("cut", range(1, 38))
def test_damaged_exif_data_say_nothing(cut):
    encoded = photograph(6)
    start = encoded.index(b"Exif\0\0")
    assert orientation_of(encoded[: start + cut]) == 1
    scrambled = encoded[: start + 6] + bytes(reversed(encoded[start + 6 : start + 6 + cut]))
    assert orientation_of(scrambled + encoded[start + 6 + cut :]) in range(1, 9)


def test_pictures_without_exif_data_are_untouched():
    for encoded in (picture(1), picture(1, image_format="PNG"), photograph(1)):
        image = labelled(encoded)
        assert set_upright(image) is image


@pytest.mark.parametrize("orientation", range(2, 9))
def test_boxes_turn_with_the_pixels(orientation):
    canvas = np.zeros((40, 80), np.uint8)
    canvas[4:20, 8:24] = 1
    turned = upright(canvas, orientation)
    [box] = upright_boxes(np.float32([[0.1, 0.1, 0.5, 0.3]]), orientation)
    height, width = turned.shape
    ymin, xmin, ymax, xmax = np.round(box * [height, width, height, width]).astype(int)
    assert turned[ymin:ymax, xmin:xmax].all()
    assert turned.sum() == (ymax - ymin) * (xmax - xmin)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_boxes_of_the_shown_picture_stay(orientation):
    encoded = photograph(orientation)
    image = set_upright(labelled(encoded))
    assert (image.width, image.height, image.boxes) == (WIDTH, HEIGHT, (BOX,))
    assert image.sha256 == labelled(encoded).sha256  # of the file that its owner has
    difference = decode_image(image.encoded).numpy().astype(int) - np.asarray(UPRIGHT)
    assert np.abs(difference).mean() < 3
    assert orientation_of(image.encoded) == 1
    assert Checked.usable("a.xml", "a.jpg", "", image).turned


@pytest.mark.parametrize("orientation", SWAPPED)
def test_boxes_of_the_stored_picture_turn(orientation):
    encoded = photograph(orientation)
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    [stored] = upright_boxes(np.float32([BOX]), inverse).tolist()
    size = annotated_size((HEIGHT, WIDTH), (HEIGHT, WIDTH), encoded)
    assert size == (HEIGHT, WIDTH)
    image = set_upright(labelled(encoded, *size, box=tuple(stored)))
    assert (image.width, image.height) == (WIDTH, HEIGHT)
    np.testing.assert_allclose(image.boxes, [BOX], atol=1e-6)


def test_without_a_stated_size_the_shown_picture_counts():
    assert annotated_size(None, (HEIGHT, WIDTH), photograph(6)) == (WIDTH, HEIGHT)
    assert annotated_size((WIDTH, HEIGHT), (HEIGHT, WIDTH), photograph(6)) == (WIDTH, HEIGHT)
    assert annotated_size((7, 7), (WIDTH, HEIGHT), photograph(3)) == (WIDTH, HEIGHT)
    assert annotated_size(None, (WIDTH, HEIGHT), picture()) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("stated", [(WIDTH, HEIGHT), None])
def test_voc_and_tfrecords_give_the_example_of_the_upright_file(tmp_path, orientation, stated):
    voc = VocFolder(tmp_path)
    images = []
    for name, encoded in (("up", photograph(1)), ("turned", photograph(orientation))):
        voc.add(name, (CAT,), encoded, size=stated)
        item = VocItem(
            str(tmp_path), f"annotations/xmls/{name}.xml", ("images",), (f"images/{name}.jpg",)
        )
        [(checked, image)] = read_annotation(item, "name")
        assert checked.reason == ""
        assert checked.turned == (name == "turned")
        values = od_record(dataclasses.replace(image, encoded=encoded, file_sha256=""))
        write_records(tmp_path / "a.record", [serialize(values)])
        [(_, from_record)] = read_shard(ShardItem(str(tmp_path), "a.record", ""))
        assert from_record == dataclasses.replace(image, filename=from_record.filename)
        images.append(image)
    up, turned = images
    assert (up.boxes, up.width, up.height) == (turned.boxes, turned.width, turned.height)
    assert up.annotation_sha256 == turned.annotation_sha256
    difference = np.subtract(decode_image(up.encoded), decode_image(turned.encoded), dtype=int)
    assert np.abs(difference).mean() < 3


def test_another_size_than_either_is_refused(tmp_path):
    voc = VocFolder(tmp_path)
    voc.add("a", (CAT,), photograph(6), size=(WIDTH, WIDTH))
    item = VocItem(str(tmp_path), "annotations/xmls/a.xml", ("images",), ("images/a.jpg",))
    [(checked, image)] = read_annotation(item, "name")
    assert image is None
    assert checked.kind == "size_mismatch"
