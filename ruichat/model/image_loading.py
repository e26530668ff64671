"""Image-text-to-text checkpoints of other projects: from a folder or, by name, from the hub."""

from __future__ import annotations

import importlib.util
import json
import logging
import pickle
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ruichat.errors import ArtifactError, ConfigError, ModelError, PrerequisiteError
from ruichat.model.image_chat import ImageChatModel
from ruichat.model.image_inputs import PictureReader

log = logging.getLogger(__name__)

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

_DAMAGE = (
    *(OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, EOFError),
    pickle.UnpicklingError,
)
"""What transformers raises over files that aren't what they should be."""

HUB_PREFIX = "hub:"
"""How a model of the hub is named: "hub:owner/name", or "hub:owner/name@revision"."""


def picture_class(model_type: str) -> str | None:
    """Name of the class by which transformers runs models of that type; None if it has none."""
    from transformers.models.auto import modeling_auto

    known: Any = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    found = known.get(model_type)
    return found if found is None or isinstance(found, str) else str(found[0])


def is_foreign_folder(folder: Path) -> bool:
    """Whether a folder holds a model that isn't a checkpoint of ours."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") not in (None, "ruichat")


def load_image_model(
    source: str,
    *,
    trust_remote_code: bool = False,
    device: str = "auto",
    dtype: Dtype = "auto",
) -> ImageChatModel:
    """Load a chat model that looks at pictures.

    Args:
        source: a folder, or "hub:owner/name".
        trust_remote_code: run program files that come with this very model.
        device: of torch; "auto" takes a GPU where there is one.
        dtype: of the weights; "auto" is that of the checkpoint, float32 for float16 on a CPU.

    Raises:
        ConfigError: it isn't an image-text-to-text model, or needs its own program files.
        PrerequisiteError: it isn't on the hub, or not without a password, or a package is missing.
        ArtifactError: files are missing or damaged.
        ModelError: its processor can't be used.
    """
    place, revision = _place(source)
    if trust_remote_code:
        log.warning("program files of %s are run, as --trust-remote-code says", source)
    options: dict[str, Any] = {
        "trust_remote_code": trust_remote_code,
        "revision": revision,
        "local_files_only": not source.startswith(HUB_PREFIX),
    }
    with _told(source), _quietly():
        config = _load_config(place, options)
        network, at = _load_network(place, config, options, device, dtype)
        reader = PictureReader(_load_processor(place, config, options))
    if getattr(reader.processor, "chat_template", None) is None:
        raise ConfigError(
            f"{source} has no chat template, so it isn't a chat model",
            hint="Give the instruction-tuned version, whose name often ends in -it or -Instruct",
        )
    folder = None if source.startswith(HUB_PREFIX) else Path(source)
    name = folder.resolve().name if folder is not None else source.removeprefix(HUB_PREFIX)
    return ImageChatModel(name, network.to(at).eval(), reader, folder)


def _place(source: str) -> tuple[str, str]:
    if not source.startswith(HUB_PREFIX):
        return source, "main"
    name, _, revision = source.removeprefix(HUB_PREFIX).partition("@")
    if name.count("/") != 1 or not all(name.split("/")):
        raise ConfigError(
            f"{source!r} is no name of a model on the hub", hint="Write hub:owner/name"
        )
    return name, revision or "main"


def _load_config(place: str, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    config = AutoConfig.from_pretrained(place, **options)
    known = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if not known and not options["trust_remote_code"]:
        raise ConfigError(
            f"{place} is a {config.model_type!r}, which is no image-text-to-text model of "
            "transformers",
            hint="Give a model that reads pictures and text, such as Gemma 3, Qwen-VL or LLaVA",
        )
    return config


def _load_network(
    place: str, config: Any, options: dict[str, Any], device: str, dtype: Dtype
) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForImageTextToText

    from ruichat.model.language_model import require_all

    found = "cuda" if torch.cuda.is_available() else "cpu"
    at = torch.device(found if device == "auto" else device)
    wanted: Any = dtype if dtype == "auto" else getattr(torch, dtype)
    kind: Any = AutoModelForImageTextToText
    network, info = kind.from_pretrained(
        place, config=config, dtype=wanted, output_loading_info=True, **options
    )
    require_all(place, info)
    if at.type == "cpu" and network.dtype == torch.float16:
        network = network.float()  # CPUs compute float16 a hundred times slower
    return network, at


def _load_processor(place: str, config: Any, options: dict[str, Any]) -> Any:
    """The model's processor, without its part for videos where that can't be loaded."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    mapping: Any = PROCESSOR_MAPPING
    kind: Any = mapping.get(type(config), None)
    can_read_videos = importlib.util.find_spec("torchvision") is not None
    if kind is None or can_read_videos or "video_processor" not in kind.get_attributes():
        processor = AutoProcessor.from_pretrained(place, **options)
        if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
            raise ModelError(
                f"{place} has a {type(processor).__name__} and no processor for pictures and text",
                hint="Copy the processor files that the model was published with",
            )
        return processor
    stated, _ = kind.get_processor_dict(place, **options)
    tokenizer = AutoTokenizer.from_pretrained(place, **options)
    return _without_videos(kind)(
        image_processor=AutoImageProcessor.from_pretrained(place, **options),
        tokenizer=tokenizer,
        video_processor=None,
        chat_template=stated.get("chat_template") or tokenizer.chat_template,
    )


def _without_videos(kind: Any) -> Any:
    """The processor's class, but content with None where videos would be read by torchvision."""

    class PicturesOnly(kind):
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor":
                return type(None)
            return super().check_argument_for_proper_class(argument_name, argument)

    return PicturesOnly


@contextmanager
def _quietly() -> Generator[None]:
    """Without the bars of transformers: stages are shown by whoever loads a model."""
    from transformers.utils import logging as theirs

    shown = theirs.is_progress_bar_enabled()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            theirs.enable_progress_bar()


@contextmanager
def _told(source: str) -> Generator[None]:
    """Errors of transformers and the hub, as ours with a remedy."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError
    from safetensors import SafetensorError
    from torch import OutOfMemoryError

    from ruichat.errors import RuiChatError

    try:
        yield
    except (RuiChatError, OutOfMemoryError):
        raise
    except ImportError as error:
        raise PrerequisiteError(
            f"{source} needs a package that is missing: {error}", hint="Install it"
        ) from error
    except GatedRepoError as error:
        raise PrerequisiteError(
            f"the authors of {source} let people in one by one",
            hint="Ask on its page on huggingface.co, then run: hf auth login",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise PrerequisiteError(
            f"{source} can't be fetched from the hub ({type(error).__name__})",
            hint="Check the name and the network, or copy the model into a folder",
        ) from error
    except (*_DAMAGE, SafetensorError) as error:
        text = str(error).strip().split("\n")[0]
        if "trust_remote_code" in str(error):
            raise ConfigError(
                f"{source} comes with program files of its own, which aren't run",
                hint="Give a model that transformers knows, or --trust-remote-code if you have "
                "read these files and trust them",
            ) from error
        raise ArtifactError(
            f"{source} can't be loaded as a model that reads pictures "
            f"({type(error).__name__}: {text})",
            hint="Copy the whole model folder again: config, weights, tokenizer, processor",
        ) from error
