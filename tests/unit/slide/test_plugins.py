"""Readers from packages outside: the template runs, and a missing one is named."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import malformed
import numpy as np
import pytest
from drawn import draw_tissue

from ruichat.errors import InputError, PrerequisiteError
from ruichat.slide import sandbox
from ruichat.slide.finding import find_slides
from ruichat.slide.opening import open_slide
from ruichat.slide.plugins import PLUGIN_FORMATS
from ruichat.slide.readers import READERS, ReaderCard

TEMPLATE = Path(__file__).parents[3] / "docs" / "examples" / "reader-plugin"
PICTURE = draw_tissue(150, 90)


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder into which a package is installed, as child processes see it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    monkeypatch.setattr(sandbox, "_idle", [])
    return site


def install(site: Path) -> None:
    """What `pip install` does with the template."""
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]
    for name in TEMPLATE.glob("*.py"):
        shutil.copy(name, site)
    about = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (about / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
            for group, entries in project["entry-points"].items()
        )
    )


def write_raw(path: Path) -> Path:
    height, width = PICTURE.shape[:2]
    head = b"RAWSLIDE" + np.array([width, height], "<u4").tobytes() + np.float32(0.5).tobytes()
    path.write_bytes(head + PICTURE.tobytes())
    return path


@pytest.mark.parametrize("name", ["a.rawslide", "misnamed.svs"])
def test_the_template_reads_its_slides_in_the_child(
    name: str, plug_in: Path, tmp_path: Path
) -> None:
    install(plug_in)
    with open_slide(write_raw(tmp_path / name)) as slide:
        assert (slide.opened_by, slide.vendor, slide.mpp.source) == ("rawslide", "rawslide", "file")
        assert np.array_equal(slide.read(slide.bounds0, mpp=0.5), PICTURE)


def test_what_a_plug_in_finds_damaged_is_an_input_error(plug_in: Path, tmp_path: Path) -> None:
    install(plug_in)
    path = write_raw(tmp_path / "a.rawslide")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="150 x 90 px need 40520"):
        open_slide(path)


def test_a_plug_in_that_cannot_be_loaded_is_named(plug_in: Path, tmp_path: Path) -> None:
    install(plug_in)
    (plug_in / "ruichat_rawslide.py").write_text("import a_library_that_is_gone")
    for _ in range(2):
        with pytest.raises(PrerequisiteError, match=r"ruichat_rawslide:card.*is_gone") as caught:
            open_slide(write_raw(tmp_path / "a.rawslide"))
        assert "uninstall" in caught.value.hint


def test_a_plug_in_that_cannot_be_loaded_stops_no_other_slide(
    plug_in: Path, tmp_path: Path
) -> None:
    install(plug_in)
    (plug_in / "ruichat_rawslide.py").write_text("import a_library_that_is_gone")
    with open_slide(malformed.write_slide(tmp_path / "sound.tif")) as slide:
        assert slide.thumbnail(100).any()
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\0 no slide at all")
    with pytest.raises(InputError, match=r"broken\.tif"):
        open_slide(broken)


def test_a_folder_is_searched_for_the_slides_of_plug_ins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = ReaderCard("raw", "RAWSLIDE", 50, "nowhere:open_reader", suffixes=(".rawslide",))
    write_raw(tmp_path / "a.rawslide")
    assert find_slides([tmp_path]).slides == ()
    monkeypatch.setitem(READERS._cards, "raw", card)
    assert find_slides([tmp_path]).slides == (tmp_path / "a.rawslide",)


@pytest.mark.parametrize("suffix", PLUGIN_FORMATS)
def test_a_format_without_its_plug_in_is_told_how_to_get_it(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix.upper()}"
    path.write_bytes(b"something that only the maker of the scanner knows" * 100)
    with pytest.raises(PrerequisiteError, match=PLUGIN_FORMATS[suffix].split()[0]) as caught:
        open_slide(path)
    assert "ruichat.readers" in caught.value.hint and "docs/reader-plugin.md" in caught.value.hint
    assert caught.value.exit_code == 3
