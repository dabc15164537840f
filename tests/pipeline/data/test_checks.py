"""The geometry of boxes, and the size of pictures."""

import pytest

from pipeline.data.checks import check_boxes, check_size
from pipeline.data.labelled_image import Unusable


def test_boxes_of_the_whole_image_and_of_one_pixel_are_sound():
    boxes = [(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1 / 24, 1 / 32)]
    assert len(check_boxes(boxes, 32, 24)) == 2


def test_rounding_errors_outside_the_picture_are_clipped():
    [box] = check_boxes([(-1e-8, -1e-7, 1.0000001, 1.0)], 32, 24)
    assert box == (0.0, 0.0, 1.0, 1.0)


def test_one_pixel_outside_a_large_picture_is_not_a_rounding_error():
    with pytest.raises(Unusable) as caught:
        check_boxes([(0.0, 0.0, 1.0, 10001 / 10000)], 10000, 10000)
    assert caught.value.kind == "box_outside"


def test_only_a_size_that_differs_is_unusable():
    check_size(None, (32, 24))
    check_size((32, 24), (32, 24))
    with pytest.raises(Unusable):
        check_size((32, 23), (32, 24))
