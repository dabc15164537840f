"""What one Pascal VOC annotation says. Pure Python."""

import os
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree

from pipeline.data.labelled_image import Box, Unusable


@dataclass(frozen=True)
class VocObject:
    """One `<object>`: class, box in pixels not yet checked against the picture, and flag."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool

    def normalised(self, width: int, height: int) -> Box:
        """Returns (ymin, xmin, ymax, xmax) as shares of a picture of this size in pixels."""
        return self.ymin / height, self.xmin / width, self.ymax / height, self.xmax / width


@dataclass(frozen=True)
class VocAnnotation:
    """What one XML file says.

    Attributes:
      filename: of the picture, without folders; None when absent.
      size: (width, height) in pixels; None when absent.
      objects: empty for a negative example.
    """

    filename: str | None
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]


def _number(node: Element, tag: str, context: str) -> float:
    text = (node.findtext(tag) or "").strip()
    try:
        return float(text)
    except ValueError:
        raise Unusable(
            "malformed_xml", f"expected a number in <{tag}> of {context}, received {text!r}"
        ) from None


def _parse_object(node: Element, number: int) -> VocObject:
    box = node.find("bndbox")
    if box is None:
        raise Unusable("malformed_xml", f"<object> {number} has no <bndbox>")
    context = f"<bndbox> {number}"
    return VocObject(
        (node.findtext("name") or "").strip(),
        *(_number(box, tag, context) for tag in ("xmin", "ymin", "xmax", "ymax")),
        difficult=(node.findtext("difficult") or "").strip() == "1",
    )


def parse_annotation(xml: bytes) -> VocAnnotation:
    """Parses one annotation.

    Raises:
      Unusable: when it is not the XML of a Pascal VOC annotation.
    """
    try:
        root = defusedxml.ElementTree.fromstring(xml)
    # LookupError, ValueError: an unknown encoding, or bytes that are not in it.
    except (ParseError, defusedxml.DefusedXmlException, LookupError, ValueError) as error:
        raise Unusable("malformed_xml", f"expected XML, received: {error}") from None
    if root.tag != "annotation":
        raise Unusable("malformed_xml", f"expected <annotation>, received <{root.tag}>")
    filename = (root.findtext("filename") or "").strip().replace("\\", "/")
    size_node = root.find("size")
    size = None
    if size_node is not None:
        width, height = (_number(size_node, tag, "<size>") for tag in ("width", "height"))
        if not (width.is_integer() and height.is_integer()):
            raise Unusable(
                "malformed_xml", f"expected whole numbers in <size>, received {width} x {height}"
            )
        size = (int(width), int(height))
    objects = tuple(
        _parse_object(node, number) for number, node in enumerate(root.findall("object"), 1)
    )
    return VocAnnotation(os.path.basename(filename) or None, size, objects)
