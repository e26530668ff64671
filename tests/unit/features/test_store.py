"""A store never mixes, never overwrites, and knows when to give a slide up."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
from drawn import draw_tissue, write_pyramid
from fakes import COUNTED_PX, counted_card
from foreign_files import trident

from ruichat.errors import ArtifactError, ConfigError, InputError
from ruichat.features.bag import FeatureBag, check_bag
from ruichat.features.extract import ExtractConfig
from ruichat.features.jobs import Job, Outcome, Settings, make_jobs, run_job
from ruichat.features.store import Attempts, Store

CLAIM = {
    "encoder": "mini",
    "encoder_digest": "ab",
    "precision": "fp32",
    "fingerprint": "cd",
    "extraction": 1,
}


def draw(path: Path, seed: int = 0, mpp: float | None = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_pyramid(path, draw_tissue(4 * COUNTED_PX, 4 * COUNTED_PX, seed=seed), mpp=mpp)


def extract(slides: list[Path], store: Path, **changes: object) -> list[Outcome]:
    card = counted_card()
    settings = Settings(card, ExtractConfig.for_encoder(card), store, **changes)  # type: ignore[arg-type]
    encoder = settings.load()
    return [run_job(job, settings, encoder) for job in make_jobs(slides)]


def bags(store: Path) -> set[str]:
    return {path.name for path in store.glob("*.h5")}


def test_a_finished_slide_is_skipped_wherever_it_lies(tmp_path: Path) -> None:
    slide = draw(tmp_path / "a.tif")
    (first,) = extract([slide], tmp_path / "store")
    before = (tmp_path / "store" / "a.h5").stat()
    moved = slide.rename(tmp_path / "A.tiff").rename(draw(tmp_path / "elsewhere" / "a.tif"))
    (second,) = extract([moved], tmp_path / "store")
    assert (first.status, second.status, second.bag) == ("done", "skipped", "a.h5")
    assert second.num_tiles == first.num_tiles == 16
    after = (tmp_path / "store" / "a.h5").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_slides_of_one_name_are_told_apart(tmp_path: Path) -> None:
    slides = [draw(tmp_path / "x" / "a.tif", 1), draw(tmp_path / "y" / "A.tiff", 2)]
    slides += [draw(tmp_path / "b.ome.tif", 3)]
    outcomes = extract(slides, tmp_path / "store")
    names = [outcome.bag for outcome in outcomes]
    assert names[2] == "b.h5" and names[0].startswith("a-") and names[1].startswith("A-")
    digests = {check_bag(tmp_path / "store" / name).slide_digest for name in names}
    assert len(digests) == 3
    again = extract(slides[::-1], tmp_path / "other")
    assert bags(tmp_path / "other") == bags(tmp_path / "store") and again[0].bag == "b.h5"


def test_a_bag_is_never_overwritten_by_another_slides(tmp_path: Path) -> None:
    (first,) = extract([draw(tmp_path / "x" / "a.tif", 1)], tmp_path / "store")
    content = (tmp_path / "store" / "a.h5").read_bytes()
    (second,) = extract([draw(tmp_path / "y" / "a.tif", 2)], tmp_path / "store")
    assert (first.bag, second.status) == ("a.h5", "done")
    assert second.bag.startswith("a-")
    assert (tmp_path / "store" / "a.h5").read_bytes() == content
    both = extract([tmp_path / "x" / "a.tif", tmp_path / "y" / "a.tif"], tmp_path / "store")
    assert [(o.status, o.bag) for o in both] == [("skipped", "a.h5"), ("skipped", second.bag)]


def test_another_resolution_is_another_bag(tmp_path: Path) -> None:
    slide = draw(tmp_path / "a.tif", mpp=None)
    names = [extract([slide], tmp_path / "store", mpp=mpp)[0].bag for mpp in (0.5, 0.4)]
    assert names[0] == "a.h5" and len(set(names)) == 2


def test_a_damaged_bag_is_moved_aside_and_made_again(tmp_path: Path) -> None:
    slide, path = draw(tmp_path / "a.tif"), tmp_path / "store" / "a.h5"
    extract([slide], tmp_path / "store")
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    (outcome,) = extract([slide], tmp_path / "store")
    assert (outcome.status, path.read_bytes()) == ("done", whole)
    assert path.with_name("a.h5.damaged").read_bytes() == whole[:-7]


def test_what_others_put_into_a_store_is_left_alone(tmp_path: Path) -> None:
    slides = [draw(tmp_path / f"{name}.tif") for name in "abc"]
    extract(slides[:1], tmp_path / "store")
    theirs = trident(tmp_path / "store" / "b.h5").read_bytes()
    (tmp_path / "store" / "c.h5").write_text("notes")
    outcomes = extract(slides, tmp_path / "store")
    assert [outcome.status for outcome in outcomes] == ["skipped", "done", "done"]
    assert outcomes[1].bag.startswith("b-") and outcomes[2].bag.startswith("c-")
    assert (tmp_path / "store" / "b.h5").read_bytes() == theirs
    assert (tmp_path / "store" / "c.h5").read_text() == "notes"


def test_failures_say_what_to_do_and_spoil_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\0 nothing more")
    unscaled = draw(tmp_path / "unscaled.tif", mpp=None)
    outcomes = extract([broken, unscaled, draw(tmp_path / "a.tif")], tmp_path / "store")
    assert [o.status for o in outcomes] == ["failed", "failed", "done"]
    assert all(o.message and o.hint for o in outcomes[:2])
    assert outcomes[1].error == "MissingMppError" and "--mpp" in outcomes[1].hint
    assert bags(tmp_path / "store") == {"a.h5"}


def test_a_store_belongs_to_one_encoder(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.claim(**CLAIM)  # type: ignore[arg-type]
    store.claim(**CLAIM)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="encoder is 'mini', wanted is 'uni'"):
        store.claim(**CLAIM | {"encoder": "uni"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="precision is 'fp32', wanted is 'bf16'"):
        store.claim(**CLAIM | {"precision": "bf16"})  # type: ignore[arg-type]
    (tmp_path / "store" / "store.json").write_text("{")
    with pytest.raises(ArtifactError, match="can't be read"):
        store.claim(**CLAIM)  # type: ignore[arg-type]


def test_a_folder_of_others_bags_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs.h5").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"no store.json"):
        Store(tmp_path).claim(**CLAIM)  # type: ignore[arg-type]


def test_a_slide_that_another_process_has_is_busy_or_waited_for(tmp_path: Path) -> None:
    card = counted_card()
    settings = Settings(card, ExtractConfig.for_encoder(card), tmp_path / "store")
    encoder = settings.load()
    (job,) = make_jobs([draw(tmp_path / "a.tif")])
    outcomes: list[Outcome] = []
    waiting = threading.Thread(
        target=lambda: outcomes.append(
            run_job(dataclasses.replace(job, wait=True), settings, encoder)
        )
    )
    with Store(settings.store).hold("A", wait=True) as held:  # a disk may not tell case
        assert held
        assert run_job(job, settings, encoder).status == "busy"
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join()
    assert [outcome.status for outcome in outcomes] == ["done"]


def test_attempts_without_progress_are_limited_and_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "work"

    def begin() -> None:
        Attempts(folder, 2).begin("a.svs")

    begin()
    begin()
    (folder / "000000000-000000032.shard").write_bytes(b"")
    begin()  # there was progress: counting starts over
    begin()
    with pytest.raises(InputError, match=r"a.svs ended 2 processes"):
        begin()
    begin()  # a new run tries again
    Attempts(folder, 2).end()
    begin()
    begin()


def test_jobs_are_named_after_slides(tmp_path: Path) -> None:
    (tmp_path / "series.1").mkdir()
    paths = [tmp_path / "series.1", tmp_path / "a.b.svs", tmp_path / "c.OME.TIFF"]
    assert make_jobs(paths) == [
        Job(paths[0], "series.1", True),
        Job(paths[1], "a.b", True),
        Job(paths[2], "c", True),
    ]


def test_an_error_goes_through_json_and_back(tmp_path: Path) -> None:
    outcome = Outcome.of_error(tmp_path, ConfigError("wrong", hint="mend it"), "stopped")
    with pytest.raises(ConfigError, match="wrong"):
        outcome.raise_error()
    bug = Outcome.of_error(tmp_path, KeyError("x"))
    assert "KeyError" in bug.message and "--debug" in bug.hint


def test_the_bag_in_a_store_is_read_as_any_other(tmp_path: Path) -> None:
    extract([draw(tmp_path / "a.tif")], tmp_path / "store")
    bag = FeatureBag.load(tmp_path / "store" / "a.h5")
    assert (len(bag), bag.dim, bag.encoder) == (16, 8, "counted")
