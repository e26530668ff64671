"""Nothing outside the allowed folders is read, whatever path is asked for."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ruichat.errors import ConfigError, InputError, NotFoundError
from ruichat.serve.slides.folders import UPLOADS, Folders

SECRET = b"a secret outside"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Slides inside, secrets outside, and links of all kinds between them."""
    inside, outside = tmp_path / "slides", tmp_path / "outside"
    (inside / "deep" / "er").mkdir(parents=True)
    outside.mkdir()
    (tmp_path / "slides-too").mkdir()
    for place in (outside, tmp_path, tmp_path / "slides-too"):
        (place / "secret.svs").write_bytes(SECRET)
    for place in (inside, inside / "deep", inside / "deep" / "er"):
        (place / "slide.svs").write_bytes(b"a slide")
    (inside / "link.svs").symlink_to(outside / "secret.svs")
    (inside / "folder").symlink_to(outside)
    (inside / "up").symlink_to("..")
    (inside / "loop").symlink_to("loop")
    (inside / "within.svs").symlink_to(inside / "deep" / "slide.svs")
    return Folders([inside], tmp_path / "data" / "uploads")


PIECES = [
    *("..", ".", "", "deep", "er", "slide.svs", "secret.svs", "link.svs", "folder", "up", "loop"),
    *("within.svs", "slides", "slides-too", "outside", "etc", "passwd", "proc", "self", "environ"),
    *("...", "..;", "%2e%2e", "..%2f", "..\\", "\\..", "C:", "~", "$HOME", "\0", "\n", "\u202e"),
    *("．．", "․․", "..\u200b", "a" * 300, "-rf", "*", "?", "slide.svs\0.png", "{}", "\udcff"),
]


def hostile_paths(num: int) -> Iterator[str]:
    rng = random.Random(5)
    for _ in range(num):
        parts = rng.choices(PIECES, k=rng.choice([1, 1, 2, 3, 5, 9]))
        joined = rng.choice(["/", "//", "/./", "\\", "/../"]).join(parts)
        yield rng.choice(["", "", "/", "//", "../", "./", "file://", "\\\\host\\"]) + joined


def test_ten_thousand_hostile_paths_read_nothing_outside(folders: Folders, tmp_path: Path) -> None:
    inside = (tmp_path / "slides").resolve()
    num_found = 0
    roots = ["slides", UPLOADS, "..", "", "/", "outside", "slides/..", "slides\0"]
    rng = random.Random(6)
    for path in hostile_paths(10_000):
        try:
            found = folders.resolve(rng.choice([*roots, "slides", "slides", "slides"]), path)
        except (InputError, NotFoundError):
            continue
        assert Path(os.path.realpath(found)).is_relative_to(inside)
        if found.is_file():
            assert found.read_bytes() == b"a slide"
        num_found += 1
    assert num_found > 20, "the sound ones among them are found"


def test_absolute_paths_of_secrets_are_refused(folders: Folders, tmp_path: Path) -> None:
    for path in (tmp_path / "outside" / "secret.svs", tmp_path / "slides" / "slide.svs"):
        with pytest.raises(InputError):
            folders.resolve("slides", str(path))


def test_links_may_lead_where_slides_may_lie_and_nowhere_else(folders: Folders) -> None:
    assert folders.resolve("slides", "within.svs").read_bytes() == b"a slide"
    for path in ("link.svs", "folder/secret.svs", "up/secret.svs", "up"):
        with pytest.raises(InputError, match="outside"):
            folders.resolve("slides", path)
    for path in ("loop", "loop/slide.svs", "missing.svs"):
        with pytest.raises(NotFoundError):
            folders.resolve("slides", path)


def test_a_file_is_found_again_under_the_name_it_got(folders: Folders, tmp_path: Path) -> None:
    file = (tmp_path / "slides" / "deep" / "slide.svs").resolve()
    assert folders.resolve(*folders.locate(file)) == file
    with pytest.raises(InputError):
        folders.locate((tmp_path / "slides-too" / "secret.svs").resolve())


def test_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "slides").mkdir(parents=True)
    with pytest.raises(ConfigError, match="slides"):
        Folders([tmp_path / "a" / "slides", tmp_path / "b" / "slides"], tmp_path / "uploads")
