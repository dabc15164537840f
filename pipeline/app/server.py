"""Serves the page's folder: on this machine only or, with TLS, on the local network."""

import contextlib
import datetime
import errno
import functools
import http.server
import ipaddress
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.errors import UserError

_TYPES = {
    "": "application/octet-stream",
    ".css": "text/css; charset=utf-8",
    ".gz": "application/gzip",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}
# Of the certificate; a served page lives for an afternoon.
_VALID = datetime.timedelta(days=7)
_A_DAY = datetime.timedelta(days=1)  # clocks differ


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = _TYPES
    protocol_version = "HTTP/1.1"

    def send_head(self):
        root = Path(self.directory).resolve()
        try:
            path = Path(self.translate_path(self.path)).resolve()
        except ValueError:  # a name that no file can have
            path = None
        # Links out of the folder lead nowhere, and folders are not listed.
        if path != root and (path is None or root not in path.parents or path.is_dir()):
            self.send_error(http.HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def end_headers(self):
        # The page's own policy, for its workers, too; and no old copies of a new model.
        self.send_header("Content-Security-Policy", _policy(self.directory))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format, *args):
        pass  # the terminal shows where to look, not who looked


@functools.cache
def _policy(folder: str) -> str:
    """The content security policy that index.html declares."""
    html = Path(folder, "index.html").read_text(encoding="utf-8")
    return html.partition('"Content-Security-Policy"')[2].split('"')[1]


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # browsers hang up in the middle, and do not trust the certificate at first


@contextlib.contextmanager
def serving(folder: Path, port: int, https: bool = False) -> Iterator[tuple[_Server, str]]:
    """A server of a folder, on localhost or, with https, on all networks of this machine.

    Args:
      folder: what is served; nothing outside of it is.
      port: 0 takes a free one.
      https: with a certificate made for this server alone, which browsers do not know.

    Yields:
      The server, to be started with `serve_forever`, and the certificate's SHA-256 fingerprint as
      browsers show it, empty without https.

    Raises:
      UserError: the port is in use, or not allowed.
    """
    handler = functools.partial(_Handler, directory=str(folder))
    try:
        server = _Server(("" if https else "127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise UserError(
            f"Expected a free port to serve the page on. Received: {port}, "
            f"{'which is in use' if busy else error}. Choose another one with --port."
        ) from error
    fingerprint = ""
    with server:
        if https:
            context, fingerprint = _tls_context([*own_addresses()])
            # The handshake waits in the request's own thread, see `ThreadingHTTPServer`.
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        yield server, fingerprint


def own_addresses() -> list[str]:
    """Addresses of this machine, that in the local network first; localhost last."""
    found = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # an address for documentation: nothing is sent
        found.append(probe.getsockname()[0])
    return list(dict.fromkeys([*found, "127.0.0.1"]))


def _tls_context(addresses: list[str]) -> tuple[ssl.SSLContext, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "The detector's page")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _A_DAY)
        .not_valid_after(now + _VALID)
        .add_extension(
            x509.SubjectAlternativeName([*names, x509.DNSName("localhost")]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = serialization.Encoding.PEM
    # Only files can be loaded. This one is readable by its owner alone, and gone at once.
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate.public_bytes(pem))
        file.write(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        file.flush()
        context.load_cert_chain(file.name)
    return context, certificate.fingerprint(hashes.SHA256()).hex(":").upper()
