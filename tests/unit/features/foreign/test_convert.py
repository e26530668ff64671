"""Other tools' files are read as they are; what they don't state is demanded by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import foreign_files as files
import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ruichat.cli import features as features_cli
from ruichat.errors import ArtifactError, ConfigError, InputError, RuiChatError
from ruichat.features.bag import FeatureBag
from ruichat.features.foreign.convert import convert
from ruichat.features.foreign.describe import describe
from ruichat.features.foreign.given import Given

QUARTER = Given(mpp=0.25)


def test_trident(tmp_path: Path) -> None:
    bag = convert(files.trident(tmp_path / "a.h5", overlap=32), QUARTER)
    assert (bag.encoder, bag.encoder_digest, bag.slide_digest) == ("uni2-h", "", "")
    assert np.array_equal(bag.xy0, files.grid())
    assert np.array_equal(bag.embeddings, files.features(11, 1536))
    assert (bag.span0, bag.tile_px, bag.size0, bag.overlap_px) == (512, 256, (3000, 2000), 32)
    assert np.isnan(bag.focus).all() and math.isnan(bag.tissue_area_mm2)
    assert "TRIDENT" in bag.warnings[0] and len(bag.warnings) == 1


@pytest.mark.parametrize("dim", [None, 1536])
def test_slides_without_tissue_are_told(dim: int | None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no tiles"):
        convert(files.trident_empty(tmp_path / "a.h5", dim=dim), QUARTER)


def test_a_magnification_is_no_resolution(tmp_path: Path) -> None:
    path = files.trident(tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"40x, usually about 0.25") as caught:
        convert(path, Given())
    assert "--mpp" in caught.value.hint
    with pytest.raises(ConfigError, match="--mpp -1"):
        convert(path, Given(mpp=-1))


def test_an_encoder_written_as_none_is_demanded(tmp_path: Path) -> None:
    path = files.trident(tmp_path / "a.h5", encoder=None)
    with pytest.raises(InputError, match="which encoder") as caught:
        convert(path, QUARTER)
    assert "--encoder" in caught.value.hint
    assert convert(path, Given(encoder="uni2-h", mpp=0.25)).encoder == "uni2-h"


def test_what_is_given_may_not_contradict(tmp_path: Path) -> None:
    path = files.trident(tmp_path / "a.h5")
    with pytest.raises(ConfigError, match="made by 'uni2-h', given is 'mini'"):
        convert(path, Given(encoder="mini", mpp=0.25))
    with pytest.raises(ConfigError, match="unknown encoder 'uni2'"):
        convert(path, Given(encoder="uni2", mpp=0.25))
    nameless = files.trident(tmp_path / "b.h5", encoder=None, dim=8)
    with pytest.raises(ConfigError, match="width 8; uni2-h gives 1536"):
        convert(nameless, Given(encoder="uni2-h", mpp=0.25))


def test_another_pooling_is_another_encoder(tmp_path: Path) -> None:
    bag = convert(files.stamp(tmp_path / "a.h5", extractor="mahmood-uni2", dim=768), QUARTER)
    assert bag.encoder == "stamp:mahmood-uni2"
    bag = convert(files.trident(tmp_path / "b.h5", encoder="resnet50", dim=1024), QUARTER)
    assert bag.encoder == "trident:resnet50"


def test_clam_with_its_patches(tmp_path: Path) -> None:
    given = Given("uni2-h", 0.25, patches=files.clam_patches(tmp_path / "patches.h5"))
    bag = convert(files.clam(tmp_path / "a.h5", dim=1536), given)
    assert (bag.span0, bag.tile_px) == (512, 256)
    assert np.array_equal(bag.xy0, files.grid()) and bag.xy0.dtype == np.int64
    # The slide's size isn't in CLAM's files: it ends with its tiles.
    assert bag.size0 == (4 * 512, 3 * 512) and "size" in bag.warnings[1]


def test_clam_without_patches_is_measured(tmp_path: Path) -> None:
    given = Given("uni2-h", 0.25)
    shifted = np.concatenate([files.grid(), files.grid() + 5077]).astype(np.int32)
    bag = convert(files.clam(tmp_path / "a.h5", xy=shifted, dim=1536), given)
    assert bag.span0 == 512
    lonely = np.array([[0, 0], [900, 70]], np.int32)
    with pytest.raises(InputError, match="don't tell it") as caught:
        convert(files.clam(tmp_path / "b.h5", xy=lonely, dim=1536), given)
    assert "--patches" in caught.value.hint


def test_clam_tensors_need_positions(tmp_path: Path) -> None:
    path = files.clam_torch(tmp_path / "a.pt", dim=1536)
    with pytest.raises(InputError, match="no positions") as caught:
        convert(path, Given("uni2-h", 0.25))
    assert "--patches" in caught.value.hint
    patches = files.clam_patches(tmp_path / "patches.h5")
    bag = convert(path, Given("uni2-h", 0.25, patches=patches))
    assert np.array_equal(bag.embeddings, files.features(11, 1536)) and bag.span0 == 512
    shorter = files.clam_torch(tmp_path / "b.pt", num=10, dim=1536)
    with pytest.raises(InputError, match="10 features and 11 positions"):
        convert(shorter, Given("uni2-h", 0.25, patches=patches))


def test_patches_of_another_extraction_are_refused(tmp_path: Path) -> None:
    patches = files.clam_patches(tmp_path / "patches.h5", step=256)
    with pytest.raises(InputError, match="other positions"):
        convert(files.clam(tmp_path / "a.h5", dim=1536), Given("uni2-h", 0.25, patches=patches))


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("evil"),)


def test_nothing_in_a_tensor_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(_Evil(), tmp_path / "a.pt")
    with pytest.raises(InputError, match="could run code"):
        convert(tmp_path / "a.pt", QUARTER)
    assert not (tmp_path / "evil").exists()
    torch.save({"features": torch.zeros(3, 4)}, tmp_path / "b.pt")
    with pytest.raises(InputError, match="holds dict"):
        convert(tmp_path / "b.pt", QUARTER)


def test_stamp_counts_in_micrometres(tmp_path: Path) -> None:
    bag = convert(files.stamp(tmp_path / "a.h5"), Given(mpp=0.5))
    assert (bag.encoder, bag.span0, bag.tile_px) == ("uni2-h", 512, 224)
    assert np.array_equal(bag.xy0, files.grid())
    assert bag.embeddings.dtype == np.float32
    assert np.array_equal(bag.embeddings, files.features(11, 1536, np.float16).astype(np.float32))
    older = files.stamp(tmp_path / "b.h5", tile_size_um=None, tile_size_px=None, tile_size=256.0)
    assert convert(older, Given(mpp=0.5)).span0 == 512


def test_stamp_files_that_cannot_be_read(tmp_path: Path) -> None:
    oldest = files.stamp(tmp_path / "a.h5", tile_size_um=None, unit=None)
    with pytest.raises(InputError, match="before 2"):
        convert(oldest, QUARTER)
    patient = files.stamp(tmp_path / "b.h5", feat_type="patient")
    with pytest.raises(InputError, match="one vector of a whole patient"):
        convert(patient, QUARTER)


def test_histogpt_calls_rows_x_and_counts_in_scaled_pixels(tmp_path: Path) -> None:
    path = files.histogpt(tmp_path / "a.h5")
    bag = convert(path, Given(mpp=0.25, tile_mpp=1.0))
    assert np.array_equal(bag.xy0, files.grid(step=2048))
    assert (bag.encoder, bag.span0, bag.size0) == ("ctranspath", 2048, (9000, 7000))
    with pytest.raises(InputError, match="scaled picture") as caught:
        convert(path, QUARTER)
    assert "--tile-mpp" in caught.value.hint
    with pytest.raises(InputError, match="2 scenes"):
        convert(files.histogpt(tmp_path / "b.h5", scenes=2), Given(mpp=0.25, tile_mpp=1.0))


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("not at all")
    whole = files.trident(tmp_path / "whole.h5").read_bytes()
    (tmp_path / "torn.h5").write_bytes(whole[: len(whole) // 2])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["volume"] = np.zeros(3)
    with h5py.File(tmp_path / "slide.h5", "w") as file:
        file["features"] = np.zeros(768, np.float32)
    files.clam_patches(tmp_path / "patches.h5")
    for name, words in {
        "text.h5": "neither HDF5",
        "torn.h5": "is damaged",
        "other.h5": "no known layout: it holds volume",
        "slide.h5": "one vector of a whole slide",
        "patches.h5": "positions of tiles, but no features",
        "none.h5": "can't be read",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            convert(tmp_path / name, QUARTER)
        assert caught.value.hint


def test_an_imported_bag_is_held_to_its_encoder(tmp_path: Path) -> None:
    bag = convert(files.trident(tmp_path / "a.h5"), QUARTER, key="k" * 30)
    bag.save(tmp_path / "bag.h5")
    read = FeatureBag.load(tmp_path / "bag.h5")
    assert read.check_encoder("uni2-h", "d" * 64, 1536) is read
    for name, dim in (("uni", 1536), ("uni2-h", 1024)):
        with pytest.raises(ArtifactError, match="made by encoder 'uni2-h'"):
            read.check_encoder(name, "d" * 64, dim)
    with h5py.File(tmp_path / "bag.h5") as file:
        assert file["features"].attrs["name"] == "k" * 12


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(features_cli.app, [str(argument) for argument in arguments])
    if isinstance(result.exception, RuiChatError):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_files_are_imported_into_a_store(tmp_path: Path) -> None:
    for folder in ("one", "two", "patches"):
        (tmp_path / folder).mkdir()
    paths = [files.clam(tmp_path / "one" / "a.h5", dim=1536)]
    paths += [files.clam_torch(tmp_path / "two" / "b.pt", dim=1536)]
    paths += [files.trident_empty(tmp_path / "two" / "c.h5", dim=None)]
    for name in "abc":
        files.clam_patches(tmp_path / "patches" / f"{name}.h5")
    command = ["import", *paths, "--out", tmp_path / "bags", "--encoder", "uni2-h", "--mpp", 0.25]
    command += ["--patches", tmp_path / "patches"]
    code, out, err = invoke(*command)
    assert code == 4 and out.startswith("2 slides done, 0 were there, 1 failed; 22 tiles")
    assert "c.h5: c.h5 holds no tiles" in err
    before = (tmp_path / "bags" / "a.h5").read_bytes()
    code, out, _ = invoke(*command, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["status"] for line in lines[:3]] == ["skipped", "skipped", "failed"]
    assert (tmp_path / "bags" / "a.h5").read_bytes() == before
    another = files.clam(tmp_path / "two" / "a.h5", xy=files.grid() + 512, dim=1536)
    code, out, _ = invoke("import", another, *command[4:10], "--json")
    assert json.loads(out.splitlines()[0])["bag"].startswith("a-")
    assert (tmp_path / "bags" / "a.h5").read_bytes() == before


def test_any_file_can_be_looked_at(tmp_path: Path) -> None:
    path = files.trident(tmp_path / "a.h5")
    assert describe(path) == {
        "file": "a.h5",
        "made_by": "TRIDENT",
        "num_tiles": 11,
        "dim": 1536,
        "encoder": "uni2-h",
        "stated_encoder": "uni_v2",
        "positions": "level-0 pixels",
        "side": 512.0,
        "tile_px": 256,
        "size0": [3000, 2000],
        "magnification": 40.0,
        "overlap_px": 0,
    }
    convert(path, QUARTER).save(tmp_path / "bag.h5")
    code, out, _ = invoke("info", tmp_path / "bag.h5", "--json")
    facts = json.loads(out)
    assert (code, facts["made_by"], facts["tissue_area_mm2"]) == (0, "RuiChat", None)
    assert (facts["num_tiles"], facts["encoder"]) == (11, "uni2-h")
    assert "tissue_area_mm2  unknown" in invoke("info", tmp_path / "bag.h5")[1]
    torn = (tmp_path / "bag.h5").read_bytes()[:-9]
    (tmp_path / "bag.h5").write_bytes(torn)
    with pytest.raises(ArtifactError, match="damaged"):
        invoke("info", tmp_path / "bag.h5")
