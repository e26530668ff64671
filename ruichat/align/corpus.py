"""Plain text for the language model: sentences of our own in both languages, and licensed text.

Of the text under the data folder only what its manifest allows in shipped weights is read, and of
that only what describes tissue: advice on treatment or prognosis, stage tables and protocol texts
stay out.
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from pydantic import Field

from ruichat.config import Config
from ruichat.errors import ArtifactError, InputError
from ruichat.histology import Language
from ruichat.truth.dialogues.grammar import Wording, parse, pick

MAY_TRAIN = "may train shipped weights"
"""What the manifest's `weights` column says of text that may be read here."""


class CorpusConfig(Config):
    """How much text of each kind is read."""

    num_written: int = Field(default=6000, ge=0)
    """Passages written by our grammars, per language."""
    max_per_source: int = Field(default=1500, ge=0)
    """Passages read from each licensed source; which ones is drawn by the seed."""
    max_chars: int = Field(default=600, ge=50)
    """Longer passages are left out."""


def read_corpus(
    data_root: Path | None, *, seed: int = 0, config: CorpusConfig | None = None
) -> Iterator[tuple[str, Language]]:
    """Passages of text with their language, in a fixed order for a seed.

    Args:
        data_root: folder that holds MANIFEST.tsv and text/; None to read our own text only.
        seed: draws the passages.
        config: caps.

    Raises:
        InputError: the folder has no manifest.
        ArtifactError: a source that the manifest lists can't be read.
    """
    config = config or CorpusConfig()
    rng = np.random.default_rng((seed, 3))
    for language in ("en", "zh"):
        for _ in range(config.num_written):
            yield write_passage(rng, language), language
    if data_root is None:
        return
    for name in allowed_sources(data_root):
        reader = READERS.get(name)
        if reader is None:
            continue
        try:
            texts = sorted({text for text in reader(data_root / "text" / name) if _is_usable(text)})
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"text/{name} can't be read: {error}") from error
        texts = [text for text in texts if len(text) <= config.max_chars]
        for i in rng.permutation(len(texts))[: config.max_per_source]:
            yield texts[i], "en"


def write_passage(rng: np.random.Generator, language: Language) -> str:
    """One to four sentences about one theme."""
    themes = _themes(language)
    lines = pick(rng, themes)
    num = min(1 + int(rng.random() * 4), len(lines))
    sentences = [lines[i].draw(rng) for i in rng.permutation(len(lines))[:num]]
    text = (" " if language == "en" else "").join(_sentence(text) for text in sentences)
    return text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


@functools.cache
def _themes(language: Language) -> tuple[tuple[Wording, ...], ...]:
    file = importlib.resources.files("ruichat.align") / "texts" / f"{language}.yaml"
    loaded = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    table = cast(dict[str, dict[str, str]], loaded)
    parts = {name: text.strip("\n") for name, text in table["parts"].items()}
    return tuple(
        tuple(parse(line, parts) for line in text.splitlines()) for text in table["themes"].values()
    )


def allowed_sources(data_root: Path) -> list[str]:
    """Names under text/ that the manifest lets train shipped weights."""
    manifest = data_root / "MANIFEST.tsv"
    if not manifest.is_file():
        raise InputError(f"no MANIFEST.tsv in {data_root}", hint="Give the folder of the data set")
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return sorted(
        row["item"].removeprefix("text/")
        for row in rows
        if row["item"].startswith("text/") and row["weights"] == MAY_TRAIN
    )


_OUT_OF_SCOPE = re.compile(
    r"https?:|\[ ?\]|AJCC|UICC|\bCAP\b|copyright|grep |```|[|<>{}]|Note \d"
    r"|prognos|treatment|chemotherap|\bTNM\b|SEER|\bcode[sd]?\b",
    re.IGNORECASE,
)


def _is_usable(text: str) -> bool:
    """A readable English sentence or more that keeps to what can be seen."""
    letters = sum(char.isalpha() for char in text)
    return len(text) >= 25 and letters > 0.7 * len(text) and not _OUT_OF_SCOPE.search(text)


_WSI_BENCH_TASKS = (
    "1_Report",
    "Global_Morphology_Description",
    "Regional_Structure_Description",
    "Specific_Feature_Description",
    "Key_Diagnostic_Description",
    "Histological_Typing",
    "Grading",
)


def _read_wsi_bench(folder: Path) -> Iterator[str]:
    """Answers of the tasks that describe what a slide shows."""
    for task in _WSI_BENCH_TASKS:
        for path in sorted(folder.glob(f"{task}_*.json")):
            records = cast(list[dict[str, Any]], json.loads(path.read_text(encoding="utf-8")))
            for record in records:
                for turn in record["conversations"]:
                    if turn["from"] == "gpt":
                        yield from _split_passages(str(turn["value"]))


def _read_templates(folder: Path) -> Iterator[str]:
    """Plain sentences of the English references on gross description and diagnosis."""
    for part in ("macroscopy", "diagnosis"):
        for path in sorted((folder / "references" / part).glob("*.md")):
            for line in path.read_text(encoding="utf-8").splitlines():
                text = re.sub(r"[*_`#]+", "", line).lstrip("-0123456789.) ").strip()
                if text.endswith(".") or len(text.split()) >= 6:
                    yield text


def _read_seer(folder: Path) -> Iterator[str]:
    """Descriptions in the extent-of-disease tables: anatomy and spread in plain words."""
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if not re.match(r"tables/eod_.*\.json$", name):
                    continue
                table = cast(dict[str, Any], json.loads(archive.read(name)))
                keys = [column["key"] for column in table["definition"]]
                if "description" not in keys:
                    continue
                column = keys.index("description")
                for row in table["rows"]:
                    for line in str(row[column]).splitlines():
                        yield line.strip(" -*+").replace("**", "")


def _split_passages(text: str, max_chars: int = 400) -> Iterator[str]:
    """Whole sentences, gathered up to a length."""
    passage = ""
    for sentence in re.split(r"(?<=[.!?]) +", " ".join(text.split())):
        if passage and len(passage) + len(sentence) > max_chars:
            yield passage
            passage = ""
        passage = f"{passage} {sentence}".strip()
    if passage:
        yield passage


READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "seer_eod_staging": _read_seer,
    "synoptic_templates_patoloji": _read_templates,
    "wsi_bench_half": _read_wsi_bench,
    "wsi_bench_train": _read_wsi_bench,
}
"""How each source is read; what isn't listed holds no text of use."""
