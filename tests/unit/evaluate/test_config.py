from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ruichat.align.embeddings import HELD_OUT_SEED
from ruichat.align.recipe import RecipeConfig
from ruichat.errors import ConfigError
from ruichat.evaluate.config import EvaluateConfig, PhantomSuite, load_config

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "configs" / "evaluate" / "mini.yaml"


def test_the_shipped_config_holds_out_what_the_recipe_holds_out() -> None:
    config = load_config(SHIPPED)
    recipe = yaml.safe_load((ROOT / "configs" / "mini" / "recipe.yaml").read_text())
    wanted = [source["name"] for source in recipe["encoder"]["sources"]]
    assert [source.name for source in config.sources] == wanted
    assert config.tiles is not None and config.slides is not None
    names = {f.name for f in config.folders} | set(wanted)
    assert {*config.tiles.classified, *config.tiles.unknown} <= names
    assert {probe.name for probe in config.tiles.probes} <= names


def test_no_stage_trains_or_calibrates_on_a_phantom_of_the_evaluation() -> None:
    slides = load_config(SHIPPED).slides
    recipe = RecipeConfig.from_yaml(ROOT / "configs" / "mini" / "recipe.yaml")
    assert slides is not None
    drawn = slides.phantoms
    first_test = HELD_OUT_SEED + recipe.embeddings.num_val_phantoms
    assert recipe.encoder.num_phantoms <= HELD_OUT_SEED
    assert drawn.first_seed >= first_test and PhantomSuite().first_seed >= first_test
    assert drawn.control_seed + drawn.num_control_fields <= recipe.encoder.num_phantoms


def test_every_field_counts_in_the_fingerprint() -> None:
    config = load_config(SHIPPED)
    assert config.fingerprint() == load_config(SHIPPED).fingerprint()
    assert config.quick().fingerprint() != config.fingerprint()
    fewer = config.model_copy(update={"sources": config.sources[:1]})
    assert fewer.fingerprint() != config.fingerprint()


def test_quick_asks_less() -> None:
    quick = load_config(SHIPPED).quick()
    assert quick.slides is not None and quick.slides.num_laid < 100
    assert EvaluateConfig().quick().slides is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sources: {file: missing.yaml, at: a}", "no config file"),
        ("sources: {file: self.yaml, at: a.b}", "no sources"),
        ("sources: {file: self.yaml}", "no sources"),
        ("colour: 1", "colour"),
        ("[1, 2]", "no settings"),
        ("a: [", "not readable YAML"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "self.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_config(path)
