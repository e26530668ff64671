"""The page's script and look: built from the sources as they stand, and tested where node is."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ruichat.chat.question import MAX_QUESTION_CHARS
from ruichat.histology import CLASSES

WEB = Path(__file__).parents[4] / "web"
BUILT = Path(__file__).parents[4] / "ruichat" / "assets" / "web"
REBUILD = "run: cd web && npm ci --ignore-scripts && npm run build"


def test_built_files_are_of_these_sources() -> None:
    """The build notes a digest of what it was made from; this takes it again, without node."""
    sources = ["build.mjs", "package-lock.json"]
    sources += sorted(f"src/{path.name}" for path in (WEB / "src").iterdir())
    digest = hashlib.sha256()
    for name in sources:
        digest.update(f"{name}\0".encode())
        digest.update((WEB / name).read_bytes())
    noted = (BUILT / "SOURCES.sha256").read_text().strip()
    assert noted == digest.hexdigest(), REBUILD


def test_a_fresh_build_gives_the_same_files(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (WEB / "node_modules" / "esbuild").is_dir():
        pytest.skip("needs node and the page's packages (cd web && npm ci --ignore-scripts)")
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=WEB, check=True, timeout=60)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (BUILT / path.name).read_bytes(), f"{path.name}: {REBUILD}"


def test_the_scripts_own_tests_pass() -> None:
    if shutil.which("node") is None:
        pytest.skip("needs node")
    files = sorted(str(path) for path in (WEB / "test").glob("*.test.js"))
    done = subprocess.run(
        ["node", "--test", *files], cwd=WEB, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_the_page_knows_every_class_by_its_chinese_name() -> None:
    text = (WEB / "src" / "tissues.js").read_text()
    assert re.findall(r'\["([^"]+)", "([^"]+)"\]', text) == [(one.en, one.zh) for one in CLASSES]


def test_the_page_takes_as_long_a_question_as_the_server() -> None:
    text = (WEB / "src" / "composer.js").read_text()
    assert re.findall(r"MAX_QUESTION_CHARS = (\d+);", text) == [str(MAX_QUESTION_CHARS)]


def test_packages_are_pinned_and_name_no_registry() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not any("resolved" in entry for entry in packages.values())
    wanted = json.loads((WEB / "package.json").read_text())
    for version in (wanted["dependencies"] | wanted["devDependencies"]).values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_the_page_names_no_address_outside() -> None:
    """Neither code nor style asks another machine for anything; names of XML schemas are none."""
    schemas = ("http://www.w3.org/", "https://www.w3.org/")
    for name in ("ruichat.js", "ruichat.css"):
        text = (BUILT / name).read_text()
        found = [
            address
            for address in re.findall(r"(?:src|href|url)\W{0,4}https?://[^\s\"'`)]+", text)
            if not any(schema in address for schema in schemas)
        ]
        assert not found


def test_text_from_the_server_never_becomes_markup() -> None:
    """Our sources make elements and text nodes; nothing in them parses HTML."""
    for path in (WEB / "src").glob("*.js"):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function",
            path.read_text(),
        )
        assert not found, path.name
