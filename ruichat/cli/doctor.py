"""`ruichat doctor`: what is installed, readable, too small."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from ruichat.cli import model_choice as choice
from ruichat.errors import ArtifactError, PrerequisiteError, RuiChatError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Status = Literal["ok", "small", "broken", "missing"]

NEEDED = {
    "alembic": "alembic",
    "argon2": "argon2-cffi",
    "fastapi": "fastapi",
    "filelock": "filelock",
    "gradio": "gradio",
    "h5py": "h5py",
    "huggingface_hub": "huggingface-hub",
    "imagecodecs": "imagecodecs",
    "jaxtyping": "jaxtyping",
    "jinja2": "jinja2",
    "numpy": "numpy",
    "openslide_bin": "openslide-bin",
    "openslide": "openslide-python",
    "openvino": "openvino",
    "peft": "peft",
    "PIL": "pillow",
    "platformdirs": "platformdirs",
    "prometheus_client": "prometheus-client",
    "pydantic": "pydantic",
    "pydicom": "pydicom",
    "python_multipart": "python-multipart",
    "yaml": "pyyaml",
    "rich": "rich",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sentencepiece": "sentencepiece",
    "simplejpeg": "simplejpeg",
    "sqlalchemy": "sqlalchemy",
    "tifffile": "tifffile",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
    "typer": "typer",
    "uvicorn": "uvicorn",
}
"""Module to distribution: what the package depends on."""

MIN_CORES = 2
MIN_MEMORY_GB = 4.0
MIN_DISK_GB = 1.0
"""What `mini` needs on a slide of a few hundred mm²: peak memory under 2 GB with a desktop
beside it, and room for the bags of some hundred slides."""

_GB = 1e9


@dataclass(frozen=True)
class Check:
    """One thing looked at: what, how it stands, what was found, what to do."""

    name: str
    status: Status
    found: str
    hint: str = ""


@app.command()
def doctor(
    encoder_name: Annotated[
        str | None,
        typer.Option("--encoder", help="Say what is missing to run this encoder instead."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Say what is missing to chat with this model instead."),
    ] = None,
    base_url: choice.BaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check what is installed, readable, too small; code 3 if something needed is missing."""
    if base_url is not None and not (model or "").startswith("openai:"):
        raise typer.BadParameter("--base-url goes with --model openai:NAME")
    if encoder_name is not None and model is not None:
        raise typer.BadParameter("give either --encoder or --model")
    if encoder_name is not None:
        from ruichat.cli.doctor_encoder import encoder_checks

        checks = list(encoder_checks(encoder_name))
    elif model is not None:
        from ruichat.cli.doctor_model import model_checks

        checks = list(model_checks(model, base_url))
    else:
        checks = list(run_checks())
    healthy = all(check.status != "missing" for check in checks)
    if as_json:
        report = {"healthy": healthy, "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        _print(checks)
    if not healthy:
        raise typer.Exit(PrerequisiteError.exit_code)


def run_checks() -> Iterator[Check]:
    """Everything `doctor` looks at, in order."""
    yield Check("python", "ok", platform.python_version())
    for module, distribution in NEEDED.items():
        yield check_package(module, distribution)
    yield guarded("openslide library", _openslide_library)
    yield guarded("weights", _weights)
    yield from _plugins()
    yield guarded("cache", _cache)
    yield _cores()
    yield _memory()


def _print(checks: list[Check]) -> None:
    marks = {"ok": "ok", "small": "SMALL", "broken": "BROKEN", "missing": "MISSING"}
    width = max(len(check.name) for check in checks)
    for check in checks:
        typer.echo(f"{marks[check.status]:8}{check.name:{width}}  {check.found}")
        if check.hint and check.status != "ok":
            typer.echo(f"{'':8}{'':{width}}  -> {check.hint}")


def check_package(module: str, distribution: str) -> Check:
    """Whether a package is installed, and which version; it isn't imported."""
    if importlib.util.find_spec(module) is None:
        return Check(distribution, "missing", "not installed", f"Run: pip install {distribution}")
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        version = "installed, version unknown"
    return Check(distribution, "ok", version)


def guarded(name: str, look: Callable[[], Check]) -> Check:
    """Run a check; what goes wrong in it is its result."""
    try:
        return look()
    except RuiChatError as error:
        return Check(name, "missing", error.message, error.hint)
    except (ImportError, OSError) as error:
        return Check(name, "missing", f"{type(error).__name__}: {error}", "Install ruichat again")


def _openslide_library() -> Check:
    """The wheel of openslide-python needs a shared library beside it."""
    importlib.import_module("ruichat.slide.openslide_reader")
    return Check("openslide library", "ok", "loads")


def _weights() -> Check:
    """The embedded model's files, read whole and compared with their digests."""
    from ruichat.features.tile_classifier import WEIGHTS, TileClassifier
    from ruichat.model.checkpoint import check_mini

    found = check_mini()
    classifier = TileClassifier.load()
    encoder = WEIGHTS.with_name("encoder.safetensors")
    if hashlib.sha256(encoder.read_bytes()).hexdigest() != classifier.encoder_digest:
        raise ArtifactError(
            f"{encoder.name} isn't the encoder that {WEIGHTS.name} was trained on",
            hint="Install ruichat again",
        )
    return Check("weights", "ok", found)


def _plugins() -> Iterator[Check]:
    """Those of packages outside that can't be used; without them everything else works."""
    from ruichat.features.encoder import ENCODERS
    from ruichat.features.slide_encoders.cards import SLIDE_ENCODERS
    from ruichat.model.chat_model import CHAT_MODELS
    from ruichat.slide.readers import READERS

    for registry in (READERS, ENCODERS, SLIDE_ENCODERS, CHAT_MODELS):
        for broken in registry.broken:
            yield Check(f"plug-in {broken.name}", "broken", broken.problem, broken.error().hint)


def _cache() -> Check:
    """The cache folder takes a file, and its disk has room."""
    from ruichat.storage.artifacts import cache_dir

    folder = cache_dir()
    hint = "Set RUICHAT_CACHE to a folder on a disk with room"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"ruichat")
    except OSError as error:
        return Check("cache", "missing", f"{folder} can't be written ({error.strerror})", hint)
    free_gb = shutil.disk_usage(folder).free / _GB
    status: Status = "ok" if free_gb >= MIN_DISK_GB else "small"
    return Check("cache", status, f"{folder}, {free_gb:.1f} GB free", hint)


def _cores() -> Check:
    count = num_cores()
    status: Status = "ok" if count >= MIN_CORES else "small"
    return Check("cores", status, str(count), f"{MIN_CORES} or more answer faster")


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> Check:
    total_gb = memory_bytes() / _GB
    if total_gb == 0:
        return Check("memory", "ok", "unknown")
    status: Status = "ok" if total_gb >= MIN_MEMORY_GB else "small"
    return Check("memory", status, f"{total_gb:.1f} GB", f"{MIN_MEMORY_GB:.0f} GB or more")


def memory_bytes() -> int:
    """Physical memory, or a container's limit where that is less; 0 if unknown."""
    limits: list[int] = []
    if hasattr(os, "sysconf") and sys.platform != "win32":
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        path = Path("/sys/fs/cgroup") / name
        try:
            limits.append(int(path.read_text().strip()))
        except (OSError, ValueError):
            continue
    return min(limits, default=0)
