"""Archives are unpacked whole or not at all, and never outside of their folder."""

import io
import os
import stat
import tarfile
import zipfile

import pytest

from pipeline.data import archives
from pipeline.data.archives import is_archive, root_of, stem_of, unpack
from pipeline.errors import UserError

FILES = {"set/images/a.jpg": b"picture", "set/annotations/xmls/a.xml": b"<annotation/>"}


def make_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def make_tar(path, files, kind="", **header):
    """A tar whose members have a type or other fields of `header`."""
    with tarfile.open(path, f"w:{kind}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content) if not header else 0
            for field, value in header.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))


MAKERS = {
    "a.zip": make_zip,
    "a.tar": make_tar,
    "a.tar.gz": lambda path, files: make_tar(path, files, "gz"),
    "a.tgz": lambda path, files: make_tar(path, files, "gz"),
    "a.tar.bz2": lambda path, files: make_tar(path, files, "bz2"),
    "a.tar.xz": lambda path, files: make_tar(path, files, "xz"),
}


@pytest.fixture(params=["a.zip", "a.tar", "a.tar.gz"])
def make(request, tmp_path):
    """Makes an archive of one kind from names and contents."""

    def make_archive(files):
        path = tmp_path / request.param
        MAKERS[request.param](path, files)
        return path

    return make_archive


def refusal(path, tmp_path, max_gigabytes=1.0):
    """The message; nothing may be left, neither here nor outside."""
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError) as caught:
        unpack(path, tmp_path / "out" / "sha", max_gigabytes)
    assert set(tmp_path.rglob("*")) - before <= {tmp_path / "out"}
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_is_unpacked(tmp_path, name):
    MAKERS[name](tmp_path / name, FILES)
    assert is_archive(name)
    unpack(tmp_path / name, tmp_path / "out", 1)
    found = {p.relative_to(tmp_path / "out").as_posix(): p for p in (tmp_path / "out").rglob("*.*")}
    assert {path: file.read_bytes() for path, file in found.items()} == FILES
    assert {file.stat().st_mtime for file in found.values()} == {0}


@pytest.mark.parametrize(
    ("path", "stem"),
    [("pets.zip", "pets"), ("x.y/v1.TAR.GZ", "x.y/v1"), ("a.tgz", "a"), ("a.tar", "a")],
)
def test_the_stem_is_without_the_suffix(path, stem):
    assert is_archive(path)
    assert stem_of(path) == stem


@pytest.mark.parametrize("path", ["pets", "a.record.gz", "a.tfrecord", "zip"])
def test_other_files_are_no_archives(path):
    assert not is_archive(path)
    assert stem_of(path) == path


def test_a_single_folder_is_entered(tmp_path, make):
    unpack(make({f"deep/{name}": content for name, content in FILES.items()}), tmp_path / "out", 1)
    assert root_of(tmp_path / "out") == tmp_path / "out" / "deep" / "set"


def test_the_finders_files_are_left_out(tmp_path, make):
    finder = {"__MACOSX/set/._a.jpg": b"", ".DS_Store": b""}
    unpack(make(FILES | finder), tmp_path / "out", 1)
    assert root_of(tmp_path / "out") == tmp_path / "out" / "set"


def test_backslashes_are_folders(tmp_path, make):
    unpack(make({name.replace("/", "\\"): text for name, text in FILES.items()}), tmp_path / "o", 1)
    assert (tmp_path / "o" / "set" / "images" / "a.jpg").read_bytes() == b"picture"


@pytest.mark.parametrize(
    "name", ["/etc/cron.d/x", "../x", "set/../../x", "C:\\x", "..\\x", "\\\\server\\x", "a/.."]
)
def test_nothing_is_written_outside(tmp_path, make, name):
    message = refusal(make({"set/a.jpg": b"", name: b"x"}), tmp_path)
    assert "would be outside of the folder" in message
    assert repr(name)[1:-1] in message


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    make_tar(tmp_path / "a.tar", {"set/x": b""}, type=kind, linkname="/etc/passwd")
    assert "'set/x' is a link or a device" in refusal(tmp_path / "a.tar", tmp_path)


def test_links_in_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("set/x")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc")
        archive.writestr("set/x/passwd", "x")
    assert "'set/x' is a link or a device" in refusal(tmp_path / "a.zip", tmp_path)


def test_more_than_the_limit_is_refused(tmp_path, make):
    path = make({"a": os.urandom(3000), "b": os.urandom(3000)})
    message = refusal(path, tmp_path, max_gigabytes=5e-6)
    assert "with 'b' it has more than 5e-06 GB unpacked (data.max_unpacked_gb)" in message


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_bomb_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(archives, "_RATIO_COUNTS_FROM", 1_000_000)
    MAKERS[name](tmp_path / name, {"set/zeros": bytes(10_000_000)})
    message = refusal(tmp_path / name, tmp_path)
    assert "up to 'set/zeros' it unpacks to more than 200 times its size" in message


def test_too_many_members_are_refused(tmp_path, monkeypatch, make):
    monkeypatch.setattr(archives, "_MAX_MEMBERS", 3)
    path = make({str(number): b"" for number in range(4)})
    assert "more than 3 files and folders" in refusal(path, tmp_path)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path):
    info = tarfile.TarInfo("x" * 2_000_000)
    info.type = tarfile.GNUTYPE_LONGNAME
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(info)
    assert "a header of more than a megabyte" in refusal(tmp_path / "a.tar", tmp_path)


def test_one_name_for_two_members_is_refused(tmp_path, make):
    assert "is in it twice" in refusal(make({"set/a": b"1", "set/./a": b"2"}), tmp_path)
    assert "as a file and as a folder" in refusal(make({"a": b"1", "a/b": b"2"}), tmp_path)


@pytest.mark.parametrize("name", MAKERS)
def test_a_cut_off_archive_is_refused_wherever_it_ends(tmp_path, name):
    MAKERS[name](tmp_path / name, {**FILES, "set/noise": os.urandom(2000)})
    whole = (tmp_path / name).read_bytes()
    # A tar may lack what pads it behind the empty block that ends it.
    end = len(whole.rstrip(b"\0")) if name == "a.tar" else len(whole)
    for size in [0, 1, 5, *range(20, end, max(1, end // 20))]:
        (tmp_path / name).write_bytes(whole[:size])
        assert "damaged" in refusal(tmp_path / name, tmp_path), size


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
def test_a_changed_byte_of_a_content_is_found(tmp_path, name):
    MAKERS[name](tmp_path / name, {"set/noise": os.urandom(5000)})
    content = bytearray((tmp_path / name).read_bytes())
    content[2500] ^= 255
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path / name, tmp_path)


def test_an_encrypted_zip_is_refused(tmp_path):
    make_zip(tmp_path / "a.zip", {"set/a": b"secret"}, zipfile.ZIP_STORED)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # the flags in the central directory
    (tmp_path / "a.zip").write_bytes(content)
    assert "'set/a' is encrypted" in refusal(tmp_path / "a.zip", tmp_path)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, make):
    path = make(FILES)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "utime", full)
    assert "'set/images/a.jpg': No space left on device" in refusal(path, tmp_path)


def test_what_a_killed_run_left_does_not_matter(tmp_path, make):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half").write_bytes(b"x")
    unpack(make(FILES), tmp_path / "out", 1)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["out"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["set"]
