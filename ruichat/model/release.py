"""Checkpoints for others: the adapter folded in, or a folder with a model card to hand on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, FiniteFloat, ValidationError, field_validator

from ruichat.config import Config
from ruichat.errors import ConfigError, InputError
from ruichat.histology import Language
from ruichat.model.base import BASE_FILE, BaseReference
from ruichat.model.checkpoint_files import (
    ADAPTER_DIR,
    CALIBRATION_FILES,
    MANIFEST_FILE,
    THINKING_DIR,
    read_manifest,
)
from ruichat.model.rehearsed import REPLAY_FILE, copy_rehearsed, rehearsed_with
from ruichat.storage.artifacts import Manifest, write_atomic

COMPANIONS = (*CALIBRATION_FILES, "tiles.safetensors")
"""What may lie beside a checkpoint's own files and belongs to the same weights; embeddings to
rehearse come along too, without the names of their groups."""

CARDS: dict[Language, str] = {"en": "MODEL_CARD.md", "zh": "MODEL_CARD.zh.md"}
FEATURES_DIR = "features"
FEATURES_FILE = "features.json"
SCORES_FILE = "scores.json"


class ScoreRow(Config):
    """One line of a scores file, as `ruichat evaluate run --json` writes it."""

    section: str
    name: str
    where: str = ""
    value: FiniteFloat | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    controls: dict[str, FiniteFloat | None] = Field(default_factory=dict[str, float | None])

    @field_validator("controls", mode="before")
    @classmethod
    def _values_alone(cls, controls: Any) -> Any:
        if not isinstance(controls, dict):
            return controls
        return {
            name: control.get("value") if isinstance(control, dict) else control
            for name, control in controls.items()
        }


def merge(folder: Path, out: Path) -> Path:
    """Write a checkpoint whose adapter is folded into its weights, the language model among them.

    Weights that it thinks with are folded in the same way. Sums are rounded to the numbers that
    the language model is kept in: with bfloat16, answers may differ a little from those of a
    runtime that adds the adapter in float32.

    Args:
        folder: written by `checkpoint.save_checkpoint`.
        out: the new checkpoint, must not exist or be empty; calibration and tile classifier come
            along.

    Raises:
        ConfigError: both folders are one, or `out` holds something.
        ArtifactError: something is missing, damaged or can't be written.
        PrerequisiteError: the language model that it refers to isn't on this machine.
    """
    from ruichat.model.checkpoint import save_checkpoint
    from ruichat.model.network import load_network
    from ruichat.model.processing import RuiChatProcessor

    _check_out(folder, out)
    manifest = read_manifest(folder)
    saved = save_checkpoint(
        out,
        load_network(folder),
        RuiChatProcessor.from_pretrained(folder),
        name=manifest.details["name"],
        encoder_digest=manifest.made_from.get("encoder", ""),
        base="copy",
        made_from={**manifest.made_from, "merged": manifest.sha256},
        config_fingerprint=manifest.config_fingerprint,
        details={"stage": manifest.details.get("stage", "")},
    )
    _copy_companions(folder, saved)
    if (folder / THINKING_DIR).is_dir():
        merge(folder / THINKING_DIR, saved / THINKING_DIR)
    return saved


def export(
    folder: Path,
    out: Path,
    *,
    licence: str,
    data: str,
    scores: Path | None = None,
    features: Sequence[Path] = (),
) -> Path:
    """Write a release: the checkpoint as it is, model cards in both languages, scores, features.

    A checkpoint that refers to a published language model stays that small: adapter and what was
    trained beside it.

    Args:
        folder: written by `checkpoint.save_checkpoint`.
        out: the release; must not exist or be empty.
        licence: of the weights, an SPDX identifier.
        data: a sentence on what it was trained on.
        scores: JSON of `ruichat evaluate run`; without one the card says that there are none.
        features: bags to release along. Embeddings come from patients: see the site's rules.

    Raises:
        ConfigError: the folders are one, `out` holds something, or licence or data are empty.
        InputError: scores or features can't be used.
        ArtifactError: the checkpoint is damaged, or the release can't be written.
    """
    _check_out(folder, out)
    for name, value in (("licence", licence), ("data", data)):
        if not value.strip():
            raise ConfigError(f"{name} is empty", hint=f"Say it with --{name}: cards state it")
    manifest = read_manifest(folder)
    base = _released_base(folder)
    rows = _read_scores(scores, folder) if scores else []
    bags = _describe_features(features, manifest)
    if (folder / THINKING_DIR).is_dir():
        _copy_checkpoint(folder / THINKING_DIR, out / THINKING_DIR)
    for path in features:
        _copy(path, out / FEATURES_DIR / path.name)
    if bags:
        text = json.dumps(bags, indent=1, ensure_ascii=False)
        write_atomic(out / FEATURES_FILE, (text + "\n").encode())
    if scores:
        _copy(scores, out / SCORES_FILE)
    for language, name in CARDS.items():
        card = _card(manifest, base, licence, data, rows, len(bags), language)
        write_atomic(out / name, card.encode())
    _copy_checkpoint(folder, out)
    return out


def _check_out(folder: Path, out: Path) -> None:
    """Refuse a folder whose files would be taken for part of what is written."""
    if folder.resolve() == out.resolve():
        raise ConfigError(f"{out} is the checkpoint itself", hint="Give another folder")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out} isn't empty", hint="Give a new folder")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file:
        write_atomic(target, lambda written: shutil.copyfileobj(file, written))


def _copy_checkpoint(folder: Path, out: Path) -> None:
    for file in read_manifest(folder).details["files"]:
        _copy(folder / file, out / file)
    _copy_companions(folder, out)
    # Last: a folder without it is no checkpoint, so that a broken copy isn't taken for one.
    _copy(folder / MANIFEST_FILE, out / MANIFEST_FILE)


def _copy_companions(folder: Path, out: Path) -> None:
    for name in COMPANIONS:
        if (folder / name).is_file():
            _copy(folder / name, out / name)
    replay = rehearsed_with(folder)
    if replay.is_file():
        copy_rehearsed(replay, out / REPLAY_FILE)


def _read_scores(path: Path, folder: Path) -> list[ScoreRow]:
    """The rows of a scores file.

    Raises:
        InputError: it holds no scores, or those of another model.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = ScoreRow.model_fields
        rows = [
            ScoreRow.model_validate({k: v for k, v in row.items() if k in known})
            for row in content["rows"]
        ]
        scored = content.get("model")
        files = None if scored is None else dict(scored["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise InputError(
            f"{path} holds no scores: {error}", hint="Give the JSON of: ruichat evaluate run --json"
        ) from error
    if files is not None:
        _check_scored(path, files, folder)
    return rows


def _check_scored(path: Path, files: Mapping[str, str], folder: Path) -> None:
    """Refuse scores of other weights, or of another calibration, than the checkpoint's."""
    for name in (MANIFEST_FILE, *CALIBRATION_FILES, f"{THINKING_DIR}/{MANIFEST_FILE}"):
        file = folder / name
        own = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"
        scored = files.get(name, "missing")
        if scored != own:
            raise InputError(
                f"{path} has scores of a model whose {name} is {scored[:12]}; that of {folder} is "
                f"{own[:12]}",
                hint="Measure this checkpoint: ruichat evaluate run --model FOLDER --json FILE",
            )


def _describe_features(paths: Sequence[Path], manifest: Manifest) -> list[dict[str, Any]]:
    """Name, digest, tiles of each bag, all of the model's encoder."""
    from ruichat.features.bag import peek_bag

    found: list[dict[str, Any]] = []
    for path in paths:
        facts = peek_bag(path)
        wanted = manifest.details["encoder"]
        if facts.encoder != wanted:
            raise InputError(
                f"bag {path.name} was made by encoder {facts.encoder!r}; the model reads "
                f"{wanted!r}",
                hint="Release bags of the model's own encoder",
            )
        made_by = manifest.made_from.get("encoder", "")
        if "" not in (made_by, facts.encoder_digest) and facts.encoder_digest != made_by:
            raise InputError(
                f"bag {path.name} was made by weights {facts.encoder_digest[:8]} of encoder "
                f"{wanted!r}; the model reads those of {made_by[:8]}",
                hint="Extract the slides again with the model's own encoder weights",
            )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found.append({"file": path.name, "sha256": digest, "tiles": facts.num_tiles})
    names = [item["file"] for item in found]
    if len(set(names)) < len(names):
        raise InputError("two bags have one name", hint="Rename one of them")
    return found


def _released_base(folder: Path) -> BaseReference | None:
    """The language model that others must find; None if it lies in the checkpoint.

    Raises:
        ConfigError: it is known by a folder of this machine alone.
    """
    if not (folder / BASE_FILE).is_file():
        return None
    base = BaseReference.read(folder)
    if not base.revision:
        raise ConfigError(
            f"{folder} refers to a language model by a folder of this machine, {base.name}, where "
            "nobody else finds it",
            hint=f"Release it whole: ruichat align merge {folder} --out OUT, then export OUT; or "
            "align with the language model's name on the hub",
        )
    return base


def _card(
    manifest: Manifest,
    base: BaseReference | None,
    licence: str,
    data: str,
    rows: Sequence[ScoreRow],
    num_bags: int,
    language: Language,
) -> str:
    words, details = _WORDS[language], manifest.details
    adapter = any(file.startswith(f"{ADAPTER_DIR}/") for file in details["files"])
    facts = {
        "licence": licence,
        "encoder": f"{details['encoder']} ({manifest.made_from.get('encoder', '')[:12] or '-'})",
        "base": words["own"] if base is None else f"{base.name} ({base.revision or '-'})",
        "adapter": words["yes" if adapter else "no"],
        "stage": str(details.get("stage") or "-"),
        "digest": manifest.sha256,
        "features": str(num_bags),
    }
    lines = [f"# {details['name']}", "", words["use"], "", "| | |", "|---|---|"]
    lines += [f"| {words[name]} | {value} |" for name, value in facts.items()]
    lines += ["", f"## {words['data']}", "", data.strip(), "", f"## {words['scores']}", ""]
    if not rows:
        lines.append(words["none"])
    else:
        lines += [words["head"], "|---|---|---|"]
        for row in rows:
            name = f"{row.name}, {row.where}" if row.where else row.name
            lines.append(f"| {row.section}: {name} | {_score(row)} | {_controls(row)} |")
    return "\n".join(lines) + "\n"


def _score(row: ScoreRow) -> str:
    if row.value is None:
        return "-"
    interval = "" if row.low is None or row.high is None else f" ({row.low:.2f}-{row.high:.2f})"
    return f"{row.value:.2f}{interval}"


def _controls(row: ScoreRow) -> str:
    known = [(name, value) for name, value in row.controls.items() if value is not None]
    return ", ".join(f"{name} {value:.2f}" for name, value in known)


_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "use": "A RuiChat checkpoint: `ruichat ask SLIDE QUESTION --model FOLDER`. What it writes "
        "is no diagnosis; a pathologist must confirm it.",
        "licence": "licence of the weights",
        "encoder": "encoder (digest of its weights)",
        "base": "language model (revision)",
        "own": "in this folder",
        "adapter": "adapter kept apart",
        "yes": "yes",
        "no": "no",
        "stage": "last stage",
        "digest": "digest of the checkpoint",
        "features": "bags released along",
        "data": "Data",
        "scores": "Scores",
        "none": "None were given. Measure it before you use it: `ruichat evaluate run`.",
        "head": "| score | value (95 %) | controls |",
    },
    "zh": {
        "use": "RuiChat 检查点：`ruichat ask 切片 问题 --model 文件夹`。"
        "其输出不是诊断，须由病理医师确认。",
        "licence": "权重的许可",
        "encoder": "编码器（权重摘要）",
        "base": "语言模型（版本）",
        "own": "在本文件夹中",
        "adapter": "适配器单独保存",
        "yes": "是",
        "no": "否",
        "stage": "最后的阶段",
        "digest": "检查点摘要",
        "features": "一同发布的特征包",
        "data": "数据",
        "scores": "分数",
        "none": "没有给出。使用前请先测量：`ruichat evaluate run`。",
        "head": "| 分数 | 值（95 %） | 对照 |",
    },
}
