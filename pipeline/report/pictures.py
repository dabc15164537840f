"""Small JPEGs for the page, within a budget of bytes."""

import base64
import io

import numpy as np
from PIL import Image

_QUALITY = 78
_PREFIX = "data:image/jpeg;base64,"


def open_picture(encoded: bytes, side: int) -> Image.Image:
    """A picture's file as RGB, read no larger than it takes for `side` pixels where JPEG allows it.

    Like `models.image.decode_image`, as it is stored: boxes are given in those pixels.
    """
    image = Image.open(io.BytesIO(encoded))
    image.draft("RGB", (side, side))
    return image.convert("RGB")


def to_data_uri(image: Image.Image | np.ndarray, side: int) -> str:
    """A picture as the data URI of a JPEG whose longer side has at most `side` pixels.

    Args:
      image: RGB; an array is uint8 [H, W, 3].
      side: in pixels.
    """
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return _PREFIX + base64.b64encode(file.getvalue()).decode()


class Budget:
    """Bytes that a part of the page may spend.

    Args:
      limit: in bytes.
    """

    def __init__(self, limit: float):
        self.left = limit

    def spend(self, *uris: str) -> bool:
        """Takes data URIs if there is room for all of them."""
        size = sum(map(len, uris))
        if size > self.left:
            return False
        self.left -= size
        return True
