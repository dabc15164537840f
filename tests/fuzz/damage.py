"""Ways to break files and folders, all drawn from a given generator of random numbers."""

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

NUMBERS = (
    "NaN", "nan", "inf", "-inf", "1e400", "-1", "0", "1e-320", "9" * 400, "0x10", "1_000", "٣", "",
    " ", "2147483648", "18446744073709551616", "-0.0", "1,5", "null", "true", "[]", "{}", '"a"',
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "\n", "\t", "\x1b[31m", "a\u202eb", "<b>", "'\"", "%s%n", "{SPAN}", "../../x",
    "/etc/passwd", "é" * 300, "😀", "\ud7ff", "null", "NaN", "-1", "*", "$(x)", "a,b", "#", ":",
)  # fmt: skip
NAMES = (
    "-rf", "a b", "a\nb", "a\tb", "*", "{SPAN}", "[x]", "?", "%s", "'", '"', "é", "e\u0301", "😀",
    "a\u202eb", "CON", "~", "x" * 240, ".hidden", "a.jpg.xml", "a..jpg", "#", "a;b", "&",
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-16-le", "utf-8-sig", "latin-1", "utf-32", "cp037")
_NUMBER = re.compile(rb"-?\d+(\.\d+)?")
_WORD = re.compile(rb"[A-Za-z_]{2,}")


def bytes_of(content: bytes, rng: random.Random) -> bytes:
    """A damaged copy of a file's content."""
    return rng.choice(_BYTES)(content, rng)


def _truncate(content, rng):
    return content[: rng.randrange(len(content) + 1)]


def _flip(content, rng):
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 3, 20))):
        if damaged:
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def _cut_out(content, rng):
    begin, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:begin] + content[end:]


def _repeat(content, rng):
    begin, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[begin:end] * rng.choice((1, 2, 50)) + content[end:]


def _noise(content, rng):
    return rng.randbytes(rng.choice((0, 1, 7, 4096)))


def _replace(pattern, values):
    def replace(content, rng):
        found = list(pattern.finditer(content))
        if not found:
            return content
        match = rng.choice(found)
        value = rng.choice(values).encode("utf-8", "surrogatepass")
        return content[: match.start()] + value + content[match.end() :]

    return replace


def _recode(content, rng):
    return content.decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")


def _lines(content, rng):
    lines = content.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines[: rng.randrange(len(lines) + 1)])


def _deepen(content, rng):
    opening, closing = rng.choice(((b"[", b"]"), (b"{", b"}"), (b"<a>", b"</a>"), (b"- ", b"")))
    depth = rng.choice((10, 2000, 100_000))
    return opening * depth + content + closing * depth


_BYTES: tuple[Callable, ...] = (
    _truncate, _flip, _cut_out, _repeat, _noise, _recode, _lines, _deepen,
    *[_replace(_NUMBER, NUMBERS)] * 4,
    *[_replace(_WORD, TEXTS)] * 3,
)  # fmt: skip


def folder(root: Path, rng: random.Random) -> str:
    """Damages something in a folder; says what."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        return "nothing is left"
    victim = rng.choice(files)
    how = rng.choice((*["content"] * 8, "name", "gone", "folder", "link", "loop", "pipe", "empty"))
    if how == "content":
        victim.write_bytes(bytes_of(victim.read_bytes(), rng))
    elif how == "name":
        name = rng.choice((*NAMES, os.fsdecode(b"caf\xe9")))
        suffix = victim.suffix if rng.random() < 0.8 else ""
        os.rename(victim, victim.with_name(name + suffix))
        return f"{victim.name!r} is called {name + suffix!r}"
    elif how == "empty":
        victim.write_bytes(b"")
    else:
        victim.unlink()
        if how == "folder":
            victim.mkdir()
        elif how == "link":
            victim.symlink_to(rng.choice(("nowhere", "/dev/zero", "/etc", "..", victim.name)))
        elif how == "loop":
            (victim.parent / "loop").symlink_to(victim.parent, target_is_directory=True)
        elif how == "pipe":
            os.mkfifo(victim)
    return f"{how}: {victim.relative_to(root)}"
