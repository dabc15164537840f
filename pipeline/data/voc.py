"""Pascal VOC folders: where the files are, and what an annotation says. Pure Python."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree

from pipeline.data.labelled_image import Box, Unusable
from pipeline.errors import UserError

IMAGE_FOLDERS = ("images", "JPEGImages")
ANNOTATION_FOLDERS = ("annotations/xmls", "Annotations")


@dataclass(frozen=True)
class Layout:
    """Folders of a VOC data set, relative to its root."""

    images: str
    annotations: str


@dataclass(frozen=True)
class VocObject:
    """One `<object>`: class and box in pixels; nothing is checked against the picture yet."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float

    def normalised(self, width: int, height: int) -> Box:
        """Returns (ymin, xmin, ymax, xmax) as shares of a picture of this size in pixels."""
        return self.ymin / height, self.xmin / width, self.ymax / height, self.xmax / width


@dataclass(frozen=True)
class VocAnnotation:
    """What one XML file says.

    Attributes:
      filename: of the picture, without folders; None when the file doesn't name one.
      size: (width, height) in pixels; None when the file doesn't state it.
      objects: none for a negative.
    """

    filename: str | None
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]


def find_layout(folder: str, is_dir: Callable[[str], bool] = os.path.isdir) -> Layout:
    """Finds the folders of pictures and of annotations.

    Args:
      folder: the root of the data set.
      is_dir: tells whether a folder exists; another one for other file systems.

    Raises:
      UserError: when the folder, its pictures or its annotations aren't there.
    """
    if not is_dir(folder):
        raise UserError(
            f"Expected a folder in Pascal VOC layout. Received: {folder}, which is no folder. "
            "Check the path; for TFRecord files, pass --format tfrecord."
        )
    found = []
    for what, names in (("pictures", IMAGE_FOLDERS), ("annotations", ANNOTATION_FOLDERS)):
        name = next((name for name in names if is_dir(os.path.join(folder, name))), None)
        if name is None:
            raise UserError(
                f"Expected {what} in {names[0]}/ or {names[1]}/ of {folder}. Received: a folder "
                "with neither. Move or link the files there."
            )
        found.append(name)
    return Layout(*found)


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
    )


def parse_annotation(xml: bytes) -> VocAnnotation:
    """Parses one annotation.

    Raises:
      Unusable: when it isn't the XML of a Pascal VOC annotation.
    """
    try:
        root = defusedxml.ElementTree.fromstring(xml)
    # LookupError, ValueError: an encoding that isn't known, or isn't kept to.
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
            raise Unusable("malformed_xml", f"<size> is no whole number: {width} x {height}")
        size = (int(width), int(height))
    objects = tuple(
        _parse_object(node, number) for number, node in enumerate(root.findall("object"), 1)
    )
    return VocAnnotation(os.path.basename(filename) or None, size, objects)


def class_of_filename(image_id: str) -> str:
    """Returns the class in a name as Oxford-IIIT Pets has it: `american_bulldog_105`.

    Args:
      image_id: file name without suffix; the class is all before the last underscore.

    Raises:
      Unusable: when there is nothing before an underscore.
    """
    name = image_id.rpartition("_")[0]
    if not name:
        raise Unusable(
            "no_class", f"expected a file name such as pug_12.jpg, received {image_id!r}: no class"
        )
    return name
