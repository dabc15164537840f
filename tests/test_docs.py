"""The documentation names only files, folders and modules that exist."""

import re
import subprocess
from pathlib import Path

import pytest
import tomli

from pipeline.fingerprint import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_LIST_FILES = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
# Without what runs leave behind.
FILES = subprocess.run(_LIST_FILES, cwd=ROOT, check=True, capture_output=True, text=True)
FILES = [Path(file) for file in FILES.stdout.splitlines() if (ROOT / file).exists()]
FOLDERS = {file.parts[0] for file in FILES if len(file.parts) > 1}


def stale_names(text: str) -> list[str]:
    """Paths and modules of this repository that a text names and that do not exist.

    A path starts with one of the repository's folders, or ends in `.py`; a name such as
    `test_client.py` may be that of a file in any folder. A module follows `python -m`.
    """
    words = {word.rstrip("./") for word in re.findall(r"[\w./-]+", text)}
    paths = {word for word in words if "/" in word and word.split("/")[0] in FOLDERS}
    names = {word for word in words if "/" not in word and word.endswith(".py")}
    modules = set(re.findall(r"python -m\s+((?:pipeline|benchmarks)\.[\w.]*\w)", text))
    return sorted(
        {path for path in paths if not (ROOT / path).exists()}
        | names - {file.name for file in FILES}
        | {module for module in modules if not _is_module(module)}
    )


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_what_exists(page):
    assert stale_names(page.read_text()) == []


def test_a_stale_name_is_found():
    stale = "`pipeline/gone.py` `gone.py` (`models/gone/`) python -m pipeline.gone, docs/gone.md."
    assert stale_names(stale) == [
        "docs/gone.md", "gone.py", "models/gone", "pipeline.gone", "pipeline/gone.py",
    ]  # fmt: skip
    assert stale_names("`pipeline/data/readers/voc.py` `voc.py` workdir/run.log `images/`") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    targets = re.findall(r'\]\(([^)]+)\)|src="([^"]+)"', page.read_text())
    files = [(link or picture).partition("#")[0] for link, picture in targets]
    assert [file for file in files if ":" not in file and not (page.parent / file).exists()] == []


def test_architecture_names_every_layer_of_the_import_contract():
    text = (ROOT / "docs" / "architecture.md").read_text()
    linter = tomli.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = {
        f"{contract['containers'][0]}/{name.strip(' ()')}"
        for contract in linter["contracts"]
        if contract["type"] == "layers"
        for layer in contract["layers"]
        for name in layer.split("|")
    }
    rooms = {f"{layer}/" for layer in layers if (ROOT / layer).is_dir()}
    rooms |= {f"{layer}.py" for layer in layers if (ROOT / f"{layer}.py").is_file()}
    assert rooms
    assert sorted(room for room in rooms if f"`{room}`" not in text) == []
