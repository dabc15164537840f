"""Turns photographs upright as their EXIF data say, with their boxes."""

import dataclasses

import numpy as np

from models.image import (
    decode_image,
    encode_canvas,
    orientation_of,
    swaps_sides,
    upright,
    upright_boxes,
)
from pipeline.data.labelled_image import LabelledImage


def annotated_size(
    stated: tuple[int, int] | None, stored: tuple[int, int], encoded: bytes
) -> tuple[int, int]:
    """The size of the picture that somebody has drawn boxes on.

    Labelling tools show the upright picture; some, such as old versions of LabelImg and CVAT, show
    the stored one. The size that they state with the boxes tells.

    Args:
      stated: (width, height) in the annotation, None if it says nothing.
      stored: (width, height) of the picture as it is stored.
      encoded: the picture's file.

    Returns:
      (width, height) of the stored picture if that is what was stated, else of the upright one.
    """
    if stated == stored or not swaps_sides(orientation_of(encoded)):
        return stored
    return stored[::-1]


def set_upright(image: LabelledImage) -> LabelledImage:
    """The image as everything behind ExampleGen sees it: pixels in their places, no EXIF data.

    Args:
      image: its width and height are the `annotated_size`.

    Returns:
      The same image, unless its EXIF data turn it.
    """
    orientation = orientation_of(image.encoded)
    if orientation == 1:
        return image
    picture = upright(decode_image(image.encoded).numpy(), orientation)
    height, width, _ = picture.shape
    boxes = image.boxes
    if (height, width) != (image.height, image.width):
        turned = upright_boxes(np.array(boxes, np.float32).reshape(-1, 4), orientation)
        boxes = tuple(map(tuple, turned.tolist()))
    return dataclasses.replace(
        image,
        encoded=encode_canvas(picture).numpy(),
        height=height,
        width=width,
        boxes=boxes,
        file_sha256=image.sha256,
        turned=True,
    )
