"""`ruichat features pool` on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from fakes_bags import drawn_bag
from typer.testing import CliRunner

from ruichat.cli import features
from ruichat.errors import ArtifactError, ConfigError, InputError, PrerequisiteError
from ruichat.features.slide_encoders.embedding import SlideEmbedding


def run(*arguments: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(features.app, ["pool", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == exit_code, result.output
    return result.stdout


def test_one_bag_becomes_one_file(tmp_path: Path) -> None:
    bag = drawn_bag(9, 5)
    bag.save(tmp_path / "a.h5")
    out = tmp_path / "slide.h5"
    facts = json.loads(run(tmp_path / "a.h5", "--slide-encoder", "mean", "--out", out, "--json"))
    assert (facts["dim"], facts["num_tiles"], facts["slide_encoder"]) == (5, 9, "mean")
    assert np.allclose(SlideEmbedding.load(out).vector, bag.embeddings.mean(axis=0), atol=1e-6)
    plain = run(tmp_path / "a.h5", "--slide-encoder", "mean", "--out", out)
    assert "5 numbers for 9 tiles, mean over mini" in plain


def test_several_bags_go_to_a_folder_and_one_that_fails_stops_none(tmp_path: Path) -> None:
    drawn_bag(9, 5).save(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes(b"no bag")
    drawn_bag(4, 5, seed=1).save(tmp_path / "c.h5")
    bags = [tmp_path / f"{name}.h5" for name in "abc"]
    out = tmp_path / "pooled"
    lines = run(*bags, "--slide-encoder", "mean", "--out", out, "--json", exit_code=4)
    assert [json.loads(line)["num_tiles"] for line in lines.splitlines()] == [9, 4]
    assert sorted(path.name for path in out.iterdir()) == ["a.h5", "c.h5"]


def test_a_folder_stands_for_its_bags(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.h5 files"):
        run(tmp_path, "--slide-encoder", "mean", "--out", tmp_path / "pooled")
    (tmp_path / "store.json").write_text("{}")
    drawn_bag(9, 5).save(tmp_path / "a.h5")
    run(tmp_path, "--slide-encoder", "mean", "--out", tmp_path / "pooled")
    assert [path.name for path in (tmp_path / "pooled").iterdir()] == ["a.h5"]


def test_a_file_of_another_tool_is_to_be_imported_first(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["features"] = np.zeros((3, 4), np.float32)
    with pytest.raises(ArtifactError, match="no manifest") as caught:
        run(tmp_path / "theirs.h5", "--slide-encoder", "mean", "--out", tmp_path / "out.h5")
    assert "features import" in caught.value.hint


def test_nothing_is_written_over_a_bag_or_twice(tmp_path: Path) -> None:
    bag = tmp_path / "a.h5"
    drawn_bag(9, 5).save(bag)
    with pytest.raises(ConfigError, match=r"is one of the bags"):
        run(bag, "--slide-encoder", "mean", "--out", bag)
    other = tmp_path / "other" / "a.h5"
    drawn_bag(9, 5).save(other)
    for out in (tmp_path / "one.h5", tmp_path / "pooled"):
        out.suffix and out.write_bytes(b"")
        with pytest.raises(ConfigError, match="2 bags can't go to"):
            run(bag, other, "--slide-encoder", "mean", "--out", out)


def test_the_remedy_for_missing_weights_is_told(tmp_path: Path) -> None:
    drawn_bag(9, 5).save(tmp_path / "a.h5")
    with pytest.raises(PrerequisiteError, match="weights of encoder 'chief'") as caught:
        run(tmp_path / "a.h5", "--slide-encoder", "chief", "--out", tmp_path / "b.h5")
    assert "CHIEF_pretraining.pth" in caught.value.hint


def test_warnings_of_the_bag_are_passed_on(tmp_path: Path) -> None:
    replace(drawn_bag(9, 5), warnings=("stain is odd",)).save(tmp_path / "a.h5")
    arguments = [tmp_path / "a.h5", "--slide-encoder", "mean", "--out", tmp_path / "b.h5"]
    assert json.loads(run(*arguments, "--json"))["warnings"] == ["stain is odd"]
    result = CliRunner().invoke(features.app, ["pool", *map(str, arguments)])
    assert "stain is odd" in result.stderr
