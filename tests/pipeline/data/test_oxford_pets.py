"""The download of the Oxford-IIIT Pets, from a server on this machine."""

import hashlib
import http.server
import io
import itertools
import tarfile
import threading

import pytest

import local_runner
from pipeline.command_line import make_config
from pipeline.data import oxford_pets
from pipeline.data.first_look import look_at
from pipeline.data.oxford_pets import Archive, fetch, main, train_command
from pipeline.pipeline import example_gen_of
from tests.pipeline.data_samples import CAT, picture, xml

BREEDS = ("Abyssinian", "american_bulldog")


def tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def made_up_archives():
    """Of the structure of the original: strays, pictures without XML, and one that is broken."""
    images = {f"images/{breed}_{n}.jpg": picture(n) for breed in BREEDS for n in range(60)}
    images |= {f"images/Abyssinian_{n}.mat": b"MATLAB 5.0" for n in (100, 101, 102)}
    annotations = {
        f"annotations/xmls/{name.split('/')[1][:-4]}.xml": xml(name.split("/")[1], [CAT]).encode()
        for name in list(images)[:110]
    }
    images["images/Abyssinian_3.jpg"] = b"GIF89a..."
    annotations |= {
        "annotations/README": b"",
        "annotations/trainval.txt": b"Abyssinian_1 1 1 1\n",
        "annotations/trimaps/Abyssinian_1.png": picture(image_format="PNG"),
        "annotations/trimaps/._Abyssinian_1.png": b"Mac OS X",
    }
    return {"images": tar(images), "annotations": tar(annotations)}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; its other attributes are what goes wrong."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.cut_after = None  # bytes, of every answer
        self.without_ranges = False
        self.requests = []

    def handle_error(self, *_):
        """A client that hangs up is no error of the server."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        content = self.server.files.get(self.path.strip("/").removesuffix(".tar.gz"))
        if content is None:
            self.send_error(404)
            return
        start = 0
        if wanted and not self.server.without_ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = None if self.server.cut_after is None else start + self.server.cut_after
        self.wfile.write(content[start:end])
        self.close_connection = end is not None

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def archives_once():
    return made_up_archives()


@pytest.fixture
def server(monkeypatch, archives_once):
    monkeypatch.setattr(oxford_pets, "_PAUSE", 0.0)
    server = Server()
    server.files = dict(archives_once)
    known = [
        Archive(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in server.files.items()
    ]
    monkeypatch.setattr(oxford_pets, "ARCHIVES", tuple(known))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def error_of(server, folder, capsys):
    """The one line of an error."""
    assert main([str(folder), "--url", server.url]) == 1
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: ")
    assert "\n" not in line
    return line


def test_it_downloads_and_prints_a_command_that_can_use_it(server, tmp_path, capsys):
    assert main([str(tmp_path / "pets"), "--url", server.url]) == 0
    assert train_command(tmp_path / "pets") in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "pets").iterdir()) == ["annotations", "images"]
    words = train_command(tmp_path / "pets").split()
    assert words[1] == "local_runner.py"
    config = make_config(local_runner.parse_arguments(words[2:]))
    found = look_at(example_gen_of(config))
    assert found.num_images == 109
    assert set(found.box_sizes) == set(BREEDS)


def test_what_is_there_is_not_downloaded_again(server, tmp_path):
    fetch(tmp_path, server.url)
    del server.requests[:]
    fetch(tmp_path, server.url)
    assert server.requests == []


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cut_after = len(server.files["images"]) // 3 + 1
    fetch(tmp_path, server.url)
    asked = [wanted for path, wanted in server.requests if path == "/images.tar.gz"]
    assert asked[0] is None
    starts = [0, *(int(wanted.removeprefix("bytes=").removesuffix("-")) for wanted in asked[1:])]
    assert len(starts) > 2
    for before, start in itertools.pairwise(starts):
        end = before + server.cut_after
        assert end - oxford_pets._CHUNK < start <= end


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    (tmp_path / "images.tar.gz.partial").write_bytes(b"half")
    server.without_ranges = True
    fetch(tmp_path, server.url)
    assert (tmp_path / "images" / "Abyssinian_1.jpg").read_bytes() == picture(1)


def test_a_server_that_sends_nothing_is_given_up(server, tmp_path, capsys):
    server.cut_after = 0
    line = error_of(server, tmp_path, capsys)
    assert "images.tar.gz could not be downloaded" in line
    assert "it continues after 0.0 of" in line
    assert len(server.requests) == 5


def test_a_missing_file_is_told(server, tmp_path, capsys):
    server.files.clear()
    assert "/images.tar.gz. Received: 404 Not Found" in error_of(server, tmp_path, capsys)
    assert list(tmp_path.iterdir()) == []


def test_another_file_than_the_published_one_is_removed(server, tmp_path, capsys):
    content = bytearray(server.files["images"])
    content[-1] ^= 1
    server.files["images"] = bytes(content)
    line = error_of(server, tmp_path, capsys)
    assert f"sha256 {oxford_pets.ARCHIVES[0].sha256}" in line
    assert hashlib.sha256(content).hexdigest() in line
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_the_next_run_continues(server, tmp_path, capsys, monkeypatch):
    real_open = open

    def full(path, mode="r", *rest):
        file = real_open(path, mode, *rest)
        if str(path).endswith(".partial") and "b" in mode and mode != "rb":
            file.write(server.files["images"][:1000])
            file.close()
            raise OSError(28, "No space left on device", str(path))
        return file

    monkeypatch.setattr(oxford_pets, "open", full, raising=False)
    line = error_of(server, tmp_path, capsys)
    assert "images.tar.gz.partial: No space left on device" in line
    assert [p.name for p in tmp_path.iterdir()] == ["images.tar.gz.partial"]
    monkeypatch.undo()


def test_a_connection_that_is_refused_is_told(server, tmp_path, capsys, monkeypatch):
    url = server.url.replace(str(server.server_port), "1")
    assert main([str(tmp_path), "--url", url]) == 1
    assert "could not be downloaded" in capsys.readouterr().err
