"""The corpus: our own text in both languages, and only what the manifest allows."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ruichat.align.corpus import CorpusConfig, allowed_sources, read_corpus, write_passage
from ruichat.errors import ArtifactError, InputError

SMALL = CorpusConfig(num_written=60, max_per_source=20)


def make_data(root: Path, weights: str) -> Path:
    """A data folder with one licensed source of one useful and one useless passage."""
    folder = root / "text" / "wsi_bench_half"
    folder.mkdir(parents=True)
    answers = [
        "The tumor forms irregular glands that infiltrate the stroma.",
        "The recommended treatment is chemotherapy after resection of the tumor.",
    ]
    records = [{"conversations": [{"from": "gpt", "value": text}]} for text in answers]
    (folder / "Grading_test.json").write_text(json.dumps(records))
    (root / "MANIFEST.tsv").write_text(f"item\tweights\ntext/wsi_bench_half\t{weights}\n")
    return root


def test_own_text_is_in_both_languages_and_fixed_by_the_seed() -> None:
    one, other = (list(read_corpus(None, seed=1, config=SMALL)) for _ in range(2))
    assert one == other != list(read_corpus(None, seed=2, config=SMALL))
    assert Counter(language for _, language in one) == {"en": 60, "zh": 60}
    for text, language in one:
        assert bool(re.search(r"[一-鿿]", text)) == (language == "zh")
        assert not set("|()<>{}") & set(text.replace("(", "").replace(")", "")), text


def test_passages_are_varied() -> None:
    rng = np.random.default_rng(0)
    for language in ("en", "zh"):
        assert len({write_passage(rng, language) for _ in range(300)}) > 200


def test_licensed_text_is_read_and_advice_left_out(tmp_path: Path) -> None:
    texts = [t for t, _ in read_corpus(make_data(tmp_path, "may train shipped weights"))]
    assert any("irregular glands that infiltrate" in text for text in texts)
    assert not any("chemotherapy" in text for text in texts)


def test_text_for_evaluation_is_never_read(tmp_path: Path) -> None:
    root = make_data(tmp_path, "evaluation and internal tests only")
    assert allowed_sources(root) == []
    assert len(list(read_corpus(root, config=SMALL))) == 120


def test_cap_per_source(tmp_path: Path) -> None:
    root = make_data(tmp_path, "may train shipped weights")
    config = CorpusConfig(num_written=0, max_per_source=0)
    assert list(read_corpus(root, config=config)) == []


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"MANIFEST\.tsv"):
        list(read_corpus(tmp_path, config=SMALL))


def test_damaged_source(tmp_path: Path) -> None:
    root = make_data(tmp_path, "may train shipped weights")
    (root / "text" / "wsi_bench_half" / "Grading_test.json").write_text("[{")
    with pytest.raises(ArtifactError, match="wsi_bench_half"):
        list(read_corpus(root, config=SMALL))


@pytest.mark.slides
def test_real_sources_give_clean_text(shared_data: Path) -> None:
    config = CorpusConfig(num_written=0)
    texts = [text for text, _ in read_corpus(shared_data, config=config)]
    assert len(texts) > 2000
    assert not any(re.search(r"AJCC|UICC|https?:|prognosis", text) for text in texts)
