"""The files of a data set, and which pictures and labels among them belong together.

Labelling tools put pictures and labels into folders of many names. Two folders belong together when
their paths are the same but for the words that only say what is inside (`images`, `labels`), or
which side of the split it is on (`train`, `val`).
"""

import collections
import functools
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import tensorflow as tf
from tfx.dsl.io import fileio

from pipeline.data.input_patterns import is_remote, is_special
from pipeline.data.labelled_image import PICTURE_SUFFIXES, Unusable, image_id_of
from pipeline.data.split import EVAL, TEST, TRAIN
from pipeline.errors import UserError

# Folders below the data set's root, and their folders ..., so many levels are searched.
MAX_DEPTH = 5
# Not folders of data sets.
_SKIPPED = re.compile(r"\..*|__MACOSX")
# What folders and lists of a side are called.
SIDES = {
    **dict.fromkeys(("train", "training", "trainval"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "eval", "evaluation", "dev"), EVAL),
    **dict.fromkeys(("test", "testing"), TEST),
}
# Words that only say what a folder holds.
_PLAIN = frozenset(
    {"image", "images", "img", "imgs", "jpegimages", "pictures", "photos", "frames"}
    | {"annotation", "annotations", "annots", "annos", "anns", "label", "labels", "bboxes", "boxes"}
    | {"xml", "xmls", "txt", "json", "voc", "yolo", "darknet", "coco", "obj", "data", "set"}
)
_GONE = (fileio.NotFoundError, tf.errors.NotFoundError, tf.errors.FailedPreconditionError)


class Place(NamedTuple):
    """What a folder's path says: its side of the split, or "", and the other words."""

    side: str
    key: tuple[str, ...]


def side_of(name: str) -> str:
    """The side of the split that a file's or folder's name says, or ""."""
    sides = {SIDES[word] for word in re.findall("[a-z]+", name.lower()) if word in SIDES}
    return sides.pop() if len(sides) == 1 else ""


def place_of(folder: str) -> Place:
    """Takes the plain words out of a folder's path: `train/images/cats` is (train, (cats,))."""
    side, key = "", []
    for part in filter(None, folder.split("/")):
        words = re.findall("[a-z]+", part.lower())
        if words and all(word in _PLAIN or word in SIDES for word in words):
            side = side or side_of(part)
        else:
            key.append(part)
    return Place(side, tuple(key))


def places_of(folders: Iterable[str]) -> dict[str, Place]:
    """`place_of` each, without the folders that all of them are in, whatever their names."""
    places = {folder: place_of(folder) for folder in folders}
    keys = [place.key for place in places.values()]
    common = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*keys, strict=False))
    length = len(list(common))
    return {folder: Place(place.side, place.key[length:]) for folder, place in places.items()}


@dataclass(frozen=True)
class Tree:
    """The files of a data set; all paths are relative to `base`.

    Attributes:
      base: absolute path or URL.
      root: of the data set; "" for the base itself.
      files: sorted.
      unsearched: folders that are too deep.
      images: the user's folder of pictures; "" for anywhere.
      annotations: likewise of labels.
    """

    base: str
    root: str
    files: tuple[str, ...]
    unsearched: tuple[str, ...] = ()
    images: str = ""
    annotations: str = ""

    @property
    def where(self) -> str:
        """The root's path, for messages."""
        return os.path.join(self.base, self.root) if self.root else self.base

    @functools.cached_property
    def pictures(self) -> tuple[str, ...]:
        """The pictures, by their names."""
        return tuple(path for path in self.files if is_picture(path) and _in(path, self.images))

    @functools.cached_property
    def pictures_by_folder(self) -> dict[str, list[str]]:
        """The names of the pictures in each folder."""
        return by_folder(self.pictures)

    @functools.cached_property
    def pictures_by_name(self) -> dict[str, list[str]]:
        """The paths of the pictures by their names."""
        names: dict[str, list[str]] = {}
        for path in self.pictures:
            names.setdefault(os.path.basename(path), []).append(path)
        return names

    @functools.cached_property
    def pictures_by_lower_name(self) -> dict[str, list[str]]:
        """Likewise, by their names in lower case."""
        names: dict[str, list[str]] = {}
        for path in self.pictures:
            names.setdefault(os.path.basename(path).lower(), []).append(path)
        return names

    @functools.cached_property
    def file_set(self) -> frozenset[str]:
        """The files."""
        return frozenset(self.files)

    def labels(self, *suffixes: str) -> list[str]:
        """Files with one of these suffixes, in lower case, where labels may be."""
        return [
            path
            for path in self.files
            if path.lower().endswith(suffixes) and is_shown(path) and _in(path, self.annotations)
        ]

    def sources(self, *suffixes: str) -> list[str]:
        """Files with one of these suffixes anywhere, the least deep first."""
        found = [path for path in self.files if path.lower().endswith(suffixes) and is_shown(path)]
        return sorted(found, key=lambda path: (path.count("/"), path))

    def relative(self, path: str) -> str:
        """The path below the root."""
        inside = self.root and (path == self.root or path.startswith(f"{self.root}/"))
        return path[len(self.root) :].lstrip("/") if inside else path

    def places(self, folders: Iterable[str]) -> dict[str, Place]:
        """`places_of` folders, by their paths."""
        names = {folder: self.relative(folder) for folder in folders}
        places = places_of(names.values())
        return {folder: places[name] for folder, name in names.items()}

    def full(self, path: str) -> str:
        """The absolute path."""
        return os.path.join(self.base, path)

    def head(self, path: str, size: int = 4096) -> bytes:
        """The first bytes of a file; none if it cannot be read."""
        full = self.full(path)
        if is_special(full):
            return b""
        # TFX opens no file whose name is not UTF-8, but whoever looks for labels sees those, too.
        opener = fileio.open if is_remote(full) else open
        try:
            with opener(full, "rb") as file:
                return file.read(size)
        except (OSError, tf.errors.OpError, fileio.NotFoundError):
            return b""

    def text(self, path: str, what: str, limit: int = 1 << 24) -> str:
        """The text of a file that the whole data set hangs on.

        Raises:
          UserError: when it cannot be read, is too large, or is not UTF-8.
        """
        full = self.full(path)
        try:
            content = read_bytes(full)
            if content is None:
                raise Unusable("unreadable_file", "which is gone")
            if len(content) > limit:
                raise Unusable("unreadable_file", f"which has {len(content)} bytes")
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            problem = f"which is not, at byte {error.start}"
        except Unusable as error:
            problem = error.reason
        raise UserError(f"Expected {what} in UTF-8. Received: {full}, {problem}.")


def _in(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def is_picture(path: str) -> bool:
    """Whether the name is that of a picture."""
    return path.lower().endswith(PICTURE_SUFFIXES) and is_shown(path)


def is_shown(path: str) -> bool:
    """Whether the file is not a hidden one, such as macOS's `._cat.jpg`."""
    return not os.path.basename(path).startswith(".")


def by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """File names by their folder."""
    found: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, []).append(name)
    return found


def join(folder: str, name: str) -> str:
    """The path of a file in a folder, which may be ""."""
    return f"{folder}/{name}" if folder else name


def walk(
    base: str,
    root: str,
    images: str = "",
    annotations: str = "",
    depth: int = MAX_DEPTH,
) -> Tree:
    """Lists the files of a data set.

    If the user names the folders of both pictures and labels, only these are searched, and the
    files at the root.

    Args:
      base: absolute path or URL.
      root: of the data set, relative to the base.
      images: folder of the pictures, relative to the base; "" searches.
      annotations: likewise of the labels.
      depth: how many levels of folders.

    Raises:
      UserError: when one of the folders does not exist.
    """
    starts = {root: depth}
    if images and annotations:
        starts = {root: 1, images: depth, annotations: depth}
    files: set[str] = set()
    unsearched: list[str] = []
    for start, levels in starts.items():
        seen: set[tuple[int, int]] = set()
        waiting = collections.deque([(start, levels)])
        while waiting:
            folder, levels = waiting.popleft()
            path = os.path.join(base, folder) if folder else base
            if not is_remote(base):
                try:
                    stat = os.stat(path)
                except OSError:
                    raise _no_folder(path) from None
                if (stat.st_dev, stat.st_ino) in seen:
                    continue
                seen.add((stat.st_dev, stat.st_ino))
            names, folders, links = _list(path, must_exist=folder == start)
            files.update(join(folder, name) for name in names)
            folders, links = (
                [join(folder, name) for name in found if not _SKIPPED.fullmatch(name)]
                for found in (folders, links)
            )
            if levels > 1:
                waiting.extendleft((name, levels - 1) for name in folders)
                # Last: links may lead in circles, or to folders that have names of their own.
                waiting.extend((name, levels - 1) for name in links)
            elif len(starts) == 1:
                unsearched += [*folders, *links]
    return Tree(base, root, tuple(sorted(files)), tuple(sorted(unsearched)), images, annotations)


def _no_folder(path: str, problem: str = "does not exist") -> UserError:
    return UserError(
        f"Expected a folder. Received: {path}, which {problem}. Check the path, data.images and "
        "data.annotations."
    )


def _list(path: str, must_exist: bool) -> tuple[list[str], list[str], list[str]]:
    """The files, the folders and the links to folders in a folder."""
    if not is_remote(path):
        try:
            with os.scandir(path) as entries:
                found = [(entry.name, entry.is_dir(), entry.is_symlink()) for entry in entries]
        except NotADirectoryError:
            raise _no_folder(path, "is a file") from None
        except OSError as error:
            raise UserError(f"The folder {path} can't be read: {error.strerror}.") from None
        return (
            [name for name, is_folder, _ in found if not is_folder],
            [name for name, is_folder, is_link in found if is_folder and not is_link],
            [name for name, is_folder, is_link in found if is_folder and is_link],
        )
    try:
        names = fileio.listdir(path)
    except _GONE:
        if must_exist:
            raise _no_folder(path) from None
        return [], [], []
    # Object stores end the names of folders in a slash.
    files = [name for name in names if name and not name.endswith("/")]
    return files, [name.rstrip("/") for name in names if name.rstrip("/") != name != "/"], []


def read_bytes(path: str) -> bytes | None:
    """Returns a file's bytes, None when there is no such file.

    Raises:
      Unusable: when it cannot be read.
    """
    if is_special(path):
        raise Unusable("unreadable_file", f"{path} is a pipe or a device")
    try:
        with fileio.open(path, "rb") as file:
            return file.read()
    # Each file system raises its own error for a missing file, or a folder in its place.
    except _GONE:
        return None
    except (OSError, ValueError, tf.errors.OpError) as error:  # ValueError: a null byte in the name
        raise Unusable("unreadable_file", f"{path!r} can't be read: {error}") from None


def sample(items: Sequence[str], count: int) -> Sequence[str]:
    """Some of the items, evenly spaced."""
    return items[:: -(-len(items) // count) or 1]


@dataclass(frozen=True)
class Pairs:
    """Which pictures labels belong to.

    Attributes:
      folders: of pictures, by folder of labels, the likeliest first.
      places: of these folders of pictures.
    """

    folders: Mapping[str, tuple[str, ...]]
    places: Mapping[str, Place]
    label_places: Mapping[str, Place]
    _by_stem: Mapping[str, Mapping[str, list[str]]] = field(repr=False)

    def pictures_of(self, label: str) -> list[str]:
        """The pictures of a label file's name, in the folders that belong to its folder."""
        folder, _, name = label.rpartition("/")
        stem = stem_of(name)
        return [
            join(place, picture)
            for place in self.folders[folder]
            for picture in self._by_stem[place].get(stem, ())
        ]


def stem_of(label: str) -> str:
    """The picture's id that a label file's name says: `a` of `a.xml` and of `a.jpg.xml`."""
    return image_id_of(os.path.splitext(label)[0])


def pair(tree: Tree, labels: Iterable[str]) -> Pairs:
    """Finds the folders of pictures for the folders of labels.

    Args:
      tree: the data set.
      labels: the label files.
    """
    label_folders = by_folder(labels)
    by_stem: dict[str, dict[str, list[str]]] = {}
    for folder, names in tree.pictures_by_folder.items():
        stems = by_stem[folder] = {}
        for name in sorted(names):
            stems.setdefault(image_id_of(name), []).append(name)
    picture_places = tree.places(by_stem)
    label_places = tree.places(label_folders)
    claimed = {folder for folder, place in picture_places.items() if place in label_places.values()}
    chosen = {
        folder: _choose(
            folder,
            {stem_of(name) for name in names},
            label_places[folder],
            by_stem,
            picture_places,
            claimed,
        )
        for folder, names in label_folders.items()
    }
    return Pairs(chosen, picture_places, label_places, by_stem)


def _choose(
    folder: str,
    stems: set[str],
    place: Place,
    by_stem: Mapping[str, Mapping[str, list[str]]],
    places: Mapping[str, Place],
    claimed: set[str],
) -> tuple[str, ...]:
    """The folders of pictures that belong to a folder of labels.

    Args:
      folder: of the labels.
      stems: of the labels' names.
      place: of the folder.
      by_stem: the pictures by folder and stem.
      places: of the folders of pictures.
      claimed: those that have the place of some folder of labels.
    """

    def overlap(other: str) -> int:
        return len(stems & by_stem[other].keys())

    if folder in by_stem and overlap(folder):
        return (folder,)
    same = [other for other in by_stem if places[other] == place]
    if not same:  # only one of the two is divided by the split
        same = [
            other
            for other in by_stem
            if places[other].key == place.key and "" in (places[other].side, place.side)
        ]
    # By their names alone, if the paths say nothing else.
    others = [
        other
        for other in by_stem
        if other not in claimed
        and ("" in (places[other].side, place.side) or places[other].side == place.side)
    ]
    others.sort(key=lambda other: (-overlap(other), other))
    if same and (any(map(overlap, same)) or not any(map(overlap, others))):
        return tuple(sorted(same))
    if len(others) == 1 or (
        others and overlap(others[0]) * 2 >= len(stems) and not overlap(others[1])
    ):
        return (others[0],)
    return tuple(sorted(same))
