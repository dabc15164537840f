"""The command line: `python -m pipeline.app serve | build | android`."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.app.bundle import build
from pipeline.detect import ModelFiles, differences_from_manifest, find_model
from pipeline.errors import UserError

_MODEL = "workdir/pushed"
_PORT = 8000


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.app",
        description="Puts a pushed detector into people's hands.",
        epilog="exit codes: 0 success; 2 nothing was done",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument(
        "model",
        nargs="?",
        default=_MODEL,
        metavar="MODEL",
        help=f"a pushed version, the folder pushed to, or a .tflite file ({_MODEL})",
    )

    serve = commands.add_parser(
        "serve", parents=[model], help="serve a page that runs the detector on a camera"
    )
    serve.add_argument("--port", type=int, default=_PORT, help="0 takes a free one (%(default)s)")
    serve.add_argument(
        "--https",
        action="store_true",
        help="for phones: serve on the local network, with a certificate made for the occasion",
    )
    for name, text in (
        ("build", "write that page as a folder, for any host of static files"),
        ("android", "write what Google's sample apps for Android and iOS need"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("out", metavar="OUT", help="the folder to write")
        command.add_argument(
            "model", nargs="?", default=_MODEL, metavar="MODEL", help=f"see serve ({_MODEL})"
        )
    return parser.parse_args(argv)


def _serve(model: ModelFiles, port: int, https: bool) -> None:
    from pipeline.app.server import own_addresses, serving

    # However it is ended, the folder goes. A shell's background jobs ignore SIGINT.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="detector-page-") as temporary:
        folder = Path(temporary, "page")
        build(model, folder)
        with serving(folder, port, https) as (server, fingerprint):
            port = server.server_address[1]
            if https:
                import segno

                url = f"https://{own_addresses()[0]}:{port}/"
                segno.make(url, error="l").terminal(compact=True)
                print(
                    "The browser warns of an unknown certificate; go on if it shows this SHA-256 "
                    f"fingerprint:\n  {fingerprint}"
                )
            else:
                url = f"http://localhost:{port}/"
            print(f"Open {url} (Ctrl-C ends)", flush=True)
            server.serve_forever()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = _parse(argv)
    try:
        model = find_model(arguments.model)
        for difference in differences_from_manifest(model.model):
            print(f"WARNING: {difference}", file=sys.stderr)
        if arguments.command == "serve":
            _serve(model, arguments.port, arguments.https)
        elif arguments.command == "build":
            build(model, Path(arguments.out))
            print(f"Written: {arguments.out}. Copy it to any host of static files, with https.")
        else:
            from pipeline.app.phone import write_for_apps

            write_for_apps(model, Path(arguments.out))
            print(f"Written: {arguments.out}. Its README.md says where each file goes.")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
