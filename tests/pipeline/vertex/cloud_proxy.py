"""Redirects Google's hosts to a fake cloud: a proxy that ends TLS with its own certificate.

A process with the proxy in its environment takes it for the cloud, whichever client it uses:
TensorFlow's file system, Beam or the Python clients. Its code and settings stay the same.
"""

import datetime
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

_HOSTS = ("*.googleapis.com", "*.pkg.dev")


class CloudProxy:
    """A proxy for the hosts of Google Cloud.

    Args:
      serve: takes a request handler, whose attribute `origin` is the host's URL.
      folder: gets the certificate.

    Attributes:
      environment: of a process that is to see the fake cloud.
    """

    def __init__(self, serve, folder: Path):
        certificate, key = _certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(serve, context))
        self._server.daemon_threads = True
        url = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {
            "https_proxy": url,
            "no_proxy": "127.0.0.1,localhost",
            "CURL_CA_BUNDLE": str(certificate),
            "REQUESTS_CA_BUNDLE": str(certificate),
            # TensorFlow has its own way to credentials.
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
        }
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def _handler(serve, context):
    class Tunnelled(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        origin = ""

        def _serve(self):
            serve(self)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _serve

        def log_message(self, *arguments):
            pass

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self.wfile.flush()
            self.close_connection = True
            host = self.path.removesuffix(":443")
            inner = type("Inner", (Tunnelled,), {"origin": f"https://{host}"})
            try:
                with context.wrap_socket(self.connection, server_side=True) as tunnel:
                    inner(tunnel, self.client_address, self.server)
            except (ssl.SSLError, ConnectionError):
                return  # the client went away

        def log_message(self, *arguments):
            pass

    return Proxy


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake cloud")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in _HOSTS]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cloud.pem", folder / "cloud.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
