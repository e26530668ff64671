"""From a card and a weights file to a module: build, read, rename, place strictly."""

from __future__ import annotations

import functools
import pickle
import threading
import zipfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ruichat.errors import ModelError
from ruichat.features.card import Architecture, EncoderCard, Published
from ruichat.features.encoders.weights import EncoderFiles, find_files
from ruichat.features.runtime.ways import RunConfig
from ruichat.registry import load_object
from ruichat.storage.artifacts import cache_dir

if TYPE_CHECKING:
    from ruichat.features.runtime.encoder import ModuleEncoder, Parts

State = dict[str, Tensor]


def load_from_card(
    card: EncoderCard,
    *,
    weights: Path | None = None,
    download: bool = False,
    run: RunConfig | None = None,
    note: Callable[[str], None] | None = None,
) -> ModuleEncoder:
    """The encoder of a card that has an architecture; its weights are read when it's first used.

    Raises:
        PrerequisiteError: the weights, or what else it needs, aren't here.
    """
    from ruichat.features.runtime.encoder import ModuleEncoder

    files = find_files(card, weights, download=download)
    return ModuleEncoder(
        card,
        functools.partial(read_parts, card, files),
        files.digest(),
        run or RunConfig(),
        cache=cache_dir(),
        note=note,
    )


def read_parts(card: EncoderCard, files: EncoderFiles) -> Parts:
    """The module of a card and the stains that it wants.

    Raises:
        ModelError: a file is damaged, or of another encoder.
    """
    from ruichat.features.encoders.macenko import read_target
    from ruichat.features.runtime.encoder import Parts

    target = files.stain_target
    stains = None if target is None else read_target(target)
    return Parts(load_module(card, files.weights), stains)


def load_module(card: Published, path: Path) -> nn.Module:
    """The card's module in float32 on the CPU, in eval mode, every published weight placed.

    Raises:
        ModelError: the file isn't a weights file, or holds those of another encoder.
    """
    architecture = _architecture(card)
    state = rename(architecture, read_state(path))
    module = build_module(architecture)
    place(module, state, card=card, file=path.name)
    return module.eval().requires_grad_(False)


def build_module(architecture: Architecture) -> nn.Module:
    """The module with parameters that have a shape and no numbers yet: `place` comes next."""
    build = cast(Callable[..., nn.Module], load_object(architecture.build))
    with _parameters_without_storage():
        return build(**architecture.options)


def rename(architecture: Architecture, content: Mapping[str, Any]) -> State:
    """The published content of a weights file as the module's state dict."""
    function = cast(Callable[..., State], load_object(architecture.rename))
    return function(content, **architecture.rename_options)


def read_state(path: Path) -> dict[str, Any]:
    """What a weights file holds: arrays by name, in a `.pth` perhaps one dictionary deeper.

    Raises:
        ModelError: it can't be read, or would run code when read.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name} holds more than arrays, and reading that could run code "
            f"({str(error).splitlines()[0][:120]})",
            hint="Convert it to safetensors where you trust it, or get its safetensors form",
        ) from error
    except Exception as error:  # the readers' own errors have no common base
        raise ModelError(
            f"{path.name} can't be read as weights ({type(error).__name__})",
            hint="Download it again; safetensors, .bin and .pth are read",
        ) from error
    if not isinstance(content, Mapping):
        raise ModelError(
            f"{path.name} holds {type(content).__name__}, not arrays by name",
            hint="Save the module's state dict",
        )
    return {str(name): value for name, value in cast(Mapping[object, Any], content).items()}


def place(module: nn.Module, state: State, *, card: Published, file: str) -> None:
    """Put every array into the module, as float32; all must fit and none be left over.

    Raises:
        ModelError: naming some arrays that are missing, left over or of another shape.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    missing = sorted(wanted.keys() - state.keys())
    extra = sorted(state.keys() - wanted.keys())
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in wanted.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    parts = [
        f"{len(names)} {what}, such as {', '.join(names[:3])}"
        for what, names in (
            ("missing", missing),
            ("left over", extra),
            ("of another shape", misshapen),
        )
        if names
    ]
    if parts:
        raise ModelError(
            f"{file} doesn't hold the weights of encoder {card.name!r}: {'; '.join(parts)}",
            hint=f"Its weights are {' or '.join(card.files)} of {card.hub or card.source}",
        )
    module.load_state_dict({k: _float32(v) for k, v in state.items()}, strict=True, assign=True)


def _float32(value: Tensor) -> Tensor:
    value = value.float() if value.is_floating_point() else value
    return value.contiguous()


def _architecture(card: Published) -> Architecture:
    assert card.architecture is not None, f"{card.name} has a loader of its own"
    return card.architecture


@contextmanager
def _parameters_without_storage() -> Generator[None]:
    """Parameters of modules that this thread makes have a shape only; buffers are computed.

    Drawing a billion random numbers only to overwrite them takes longer than reading a file.
    """
    thread = threading.get_ident()

    def strip(_: nn.Module, __: str, parameter: nn.Parameter) -> Any:
        if threading.get_ident() != thread:
            return None
        empty = torch.empty_like(parameter, device="meta")
        return nn.Parameter(empty, requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(strip)
    try:
        yield
    finally:
        handle.remove()
