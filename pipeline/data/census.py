"""Decides which of the checked inputs become examples, and on which side. Pure Python.

The pictures themselves stay in Beam; here there is one small record per input.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from pipeline.data.labelled_image import LabelledImage, Unusable
from pipeline.data.split import EVAL, TEST, TRAIN, hash_side
from pipeline.errors import UserError
from pipeline.files import IGNORED_FILE, IMAGES_FILE, SKIPPED_FILE

# Kinds of what is known about a whole file rather than about one image.
BROKEN_FILE = "broken_file"
EMPTY_FILE = "empty_file"


@dataclass(frozen=True)
class Checked:
    """What is known about one input, usable or not.

    Attributes:
      file: unique, relative to the input's root: an XML, or a shard and the number of a record.
      image_id: empty when unknown.
      picture: the picture's file, relative to the input's root; for a record, the same as `file`.
      side: "train", "eval" or "test", if the user or the data says so.
      sha256: of the picture; this and the next two are empty when the input is unusable.
      annotation_sha256: of boxes and classes.
      classes: number of objects of each class.
      turned: whether the picture was turned upright, as its EXIF data say.
      converted: whether the picture's file is neither a JPEG nor a PNG.
      clipped: whether a box left the picture a little, and was clipped.
      kind: see `Unusable`; empty when it is usable.
      reason: likewise.
    """

    file: str
    image_id: str = ""
    picture: str = ""
    side: str = ""
    sha256: str = ""
    annotation_sha256: str = ""
    classes: Mapping[str, int] = field(default_factory=dict)
    turned: bool = False
    converted: bool = False
    clipped: bool = False
    kind: str = ""
    reason: str = ""

    @staticmethod
    def usable(file: str, picture: str, side: str, image: LabelledImage) -> "Checked":
        """What is known about an image that passed all checks."""
        return Checked(
            file=file,
            image_id=image.image_id,
            picture=picture,
            side=side,
            sha256=image.sha256,
            annotation_sha256=image.annotation_sha256,
            classes=dict(sorted(Counter(image.objects).items())),
            turned=image.turned,
            converted=image.converted,
            clipped=image.clipped,
        )


@dataclass(frozen=True)
class SplitRule:
    """How images without a side of their own get one.

    Attributes:
      eval_percent: share of the eval side by hash, 1..99.
      listed: the side of every image id, from the user's lists; None to split by hash.
    """

    eval_percent: int
    listed: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Ignored:
    """A file that is not an example, and need not be one."""

    file: str
    reason: str


@dataclass(frozen=True)
class Census:
    """What becomes of every input.

    Attributes:
      kept: the examples with their side, sorted by image id.
      set_aside: annotated but unusable, and therefore skipped; sorted by file.
      ignored: not annotated, or in neither of the user's lists; sorted by file.
    """

    kept: tuple[tuple[Checked, str], ...]
    set_aside: tuple[Checked, ...]
    ignored: tuple[Ignored, ...]

    def count(self, side: str) -> int:
        """Number of images on a side."""
        return sum(1 for _, kept_on in self.kept if kept_on == side)

    def properties(self) -> dict[str, int | str]:
        """Returns the custom properties of the Examples artifact."""
        prints = sorted(
            f"{side}\t{item.image_id}\t{item.sha256}\t{item.annotation_sha256}\n"
            for item, side in self.kept
        )
        sides = Counter(sha256 for sha256, _ in {(item.sha256, on) for item, on in self.kept})
        kinds = Counter(item.kind for item in self.set_aside)
        return {
            "num_train": self.count(TRAIN),
            "num_eval": self.count(EVAL),
            "num_test": self.count(TEST),
            "num_negatives": sum(1 for item, _ in self.kept if not item.classes),
            "num_set_aside": len(self.set_aside),
            "num_ignored": len(self.ignored),
            "num_turned": sum(1 for item, _ in self.kept if item.turned),
            "num_converted": sum(1 for item, _ in self.kept if item.converted),
            "num_clipped": sum(1 for item, _ in self.kept if item.clipped),
            "leaked_images": sum(1 for count in sides.values() if count > 1),
            "data_fingerprint": hashlib.sha256(
                "".join(prints).encode("utf-8", "surrogateescape")
            ).hexdigest(),
            "set_aside_reasons": json.dumps(dict(sorted(kinds.items()))),
        }

    def files(self) -> dict[str, str]:
        """Returns the contents of the report files, one JSON object a line."""
        images = (
            {
                "id": item.image_id,
                "file": item.picture,
                "split": side,
                "sha256": item.sha256,
                "annotation_sha256": item.annotation_sha256,
                "classes": dict(item.classes),
            }
            for item, side in self.kept
        )
        set_aside = (
            {"file": item.file, "reason": item.reason, "kind": item.kind, "id": item.image_id}
            for item in self.set_aside
        )
        ignored = (asdict(item) for item in self.ignored)
        lines = {IMAGES_FILE: images, SKIPPED_FILE: set_aside, IGNORED_FILE: ignored}
        return {
            name: "".join(json.dumps(line) + "\n" for line in content)
            for name, content in lines.items()
        }


def take_census(
    checked: Iterable[Checked], rule: SplitRule, ignored: Iterable[Ignored] = ()
) -> Census:
    """Sorts the inputs into kept, skipped and ignored.

    Of several usable inputs with the same image id, the first by file name is kept.
    """
    ignored = list(ignored)
    set_aside: list[Checked] = []
    kept: dict[str, tuple[Checked, str]] = {}
    ids_seen = set()
    for item in sorted(checked, key=lambda item: item.file):
        ids_seen.add(item.image_id)
        if item.kind == EMPTY_FILE:
            ignored.append(Ignored(item.file, item.reason))
        elif item.kind == BROKEN_FILE:
            set_aside.append(item)
        elif rule.listed is not None and item.image_id not in rule.listed:
            ignored.append(Ignored(item.file, "in none of the split lists"))
        elif item.kind:
            set_aside.append(item)
        elif item.image_id in kept:
            first = kept[item.image_id][0].file
            problem = Unusable(
                "duplicate_id", f"duplicate image id {item.image_id!r}: {first} already has it"
            )
            set_aside.append(Checked(file=item.file, image_id=item.image_id,
                                     kind=problem.kind, reason=problem.reason))  # fmt: skip
        elif rule.listed is not None:
            kept[item.image_id] = item, rule.listed[item.image_id]
        else:
            side = item.side or hash_side(item.image_id, rule.eval_percent)
            kept[item.image_id] = item, side
    for image_id, side in (rule.listed or {}).items():
        if image_id not in ids_seen:
            reason = f"listed for {side}, but has no annotation"
            set_aside.append(Checked(file=image_id, image_id=image_id,
                                     kind="listed_but_absent", reason=reason))  # fmt: skip
    return Census(
        tuple(kept[image_id] for image_id in sorted(kept)),
        tuple(sorted(set_aside, key=lambda item: item.file)),
        tuple(sorted(ignored, key=lambda item: item.file)),
    )


def _strays(census: Census) -> str:
    if not census.ignored:
        return ", and no other files"
    first = census.ignored[0]
    return f", but {len(census.ignored)} ignored files, such as {first.file}: {first.reason}"


def _remedy(census: Census) -> str:
    """The lowest limit, in whole percent, at which the run would continue, if anything is left."""
    if not census.kept:
        return ""
    unusable = len(census.set_aside)
    limit = -(-100 * unusable // (unusable + len(census.kept))) / 100
    return f", or continue without them: --set data.max_set_aside={limit}"


def require_usable(census: Census, rule: SplitRule, max_set_aside: float, where: str) -> None:
    """Rejects data that cannot be trained and evaluated on.

    Args:
      census: what was found.
      rule: how it was split.
      max_set_aside: the largest share of the annotated images that may be unusable, 0..1.
      where: the input's path, for the message.

    Raises:
      UserError: when a TFRecord file is broken, too many images are unusable, or a side is empty.
    """
    broken = [item for item in census.set_aside if item.kind == BROKEN_FILE]
    if broken:
        raise UserError(
            f"Expected TFRecord files in {where}. Received: {broken[0].file}, {broken[0].reason}. "
            "There is no telling how many examples are lost. Fix or remove the file."
        )
    annotated = len(census.kept) + len(census.set_aside)
    if not annotated:
        raise UserError(
            f"Expected annotated images in {where}. Received: none{_strays(census)}. Check the "
            "path, and that every picture has an annotation."
        )
    if len(census.set_aside) > max_set_aside * annotated:
        listing = "".join(f"\n  {item.file}: {item.reason}" for item in census.set_aside[:10])
        raise UserError(
            f"{len(census.set_aside)} of {annotated} annotated images in {where} are unusable; "
            f"the limit is {max_set_aside:.4g} (data.max_set_aside). Fix or remove "
            f"them{_remedy(census)}. The first ones:{listing}"
        )
    num_train, num_eval = census.count(TRAIN), census.count(EVAL)
    if num_train and num_eval:
        return
    empty = TRAIN if not num_train else EVAL
    remedy = "Add images to that side."
    if rule.listed is None and not any(item.side for item, _ in census.kept):
        remedy = (
            f"The hash of the image id puts {rule.eval_percent}% on the eval side. Add images, "
            "change data.eval_fraction, or give your own split with --train and --eval."
        )
    raise UserError(
        f"Expected at least one usable image for training and one for evaluation in {where}. "
        f"Received: {num_train} train, {num_eval} eval; the {empty} side is empty. {remedy}"
    )
