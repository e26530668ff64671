"""Whether a training fits the memory that is free, and if not, which settings would."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ruichat.align.loop import Log
from ruichat.align.preflight.memory import Memory
from ruichat.align.preflight.shapes import UnknownShapeError
from ruichat.align.training.processes import Processes, start_processes
from ruichat.errors import PrerequisiteError
from ruichat.features.runtime.memory import free_bytes


class NoRoomError(PrerequisiteError):
    """A training is foretold to take more memory than is free."""


@dataclass(frozen=True)
class Launch:
    """How a stage is started.

    Attributes:
        processes: cards.
        sharded: whether weights are divided among them.
    """

    processes: int = 1
    sharded: bool = False


@dataclass(frozen=True)
class Way:
    """One way of running a part of a stage.

    Attributes:
        settings: that differ from those given, by their place in the file.
        memory: of one process.
    """

    settings: Mapping[str, object]
    memory: Memory

    @property
    def spelled(self) -> str:
        """The settings as YAML has them."""
        words = {True: "true", False: "false"}
        return ", ".join(
            f"{name}: {words[value] if isinstance(value, bool) else value}"
            for name, value in self.settings.items()
        )


@dataclass(frozen=True)
class Need:
    """What a part of a stage takes.

    Attributes:
        part: its name.
        ways: as its settings say, then others from the best to the most frugal.
    """

    part: str
    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Room:
    """Memory that one process may fill.

    Attributes:
        where: for messages.
        free: bytes.
        is_card: whether libraries take working space there, as on a card.
    """

    where: str
    free: float
    is_card: bool = True

    def takes(self, memory: Memory) -> float:
        """Bytes of a training here."""
        return memory.total if self.is_card else replace(memory, reserved=0.0).total

    def fits(self, memory: Memory) -> bool:
        """Whether it has room."""
        return self.takes(memory) <= self.free


def room_of(processes: Processes) -> Room:
    """The free memory of a process's card, or its share of the machine's."""
    if processes.device.type == "cuda":
        return Room(str(processes.device), float(free_bytes(str(processes.device))))
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", processes.num))
    return Room("this machine", free_bytes(None) / beside, is_card=False)


def check_memory(needs: Callable[[Launch], Iterable[Need]], log: Log, *, anyway: bool) -> None:
    """Refuse a training that can't run, before anything of it is loaded.

    Args:
        needs: of the stage, given how it is started.
        log: told what it takes.
        anyway: start it all the same.

    Raises:
        NoRoomError: it doesn't fit; says what would.
    """
    processes = start_processes()
    if not processes.is_main:
        log = _quiet
    room = room_of(processes)
    try:
        found = list(needs(Launch(processes.num, processes.layout == "shards")))
    except UnknownShapeError as error:
        log(f"memory isn't foretold: {error.message}")
        return
    for need in found:
        memory = need.ways[0].memory
        log(
            f"memory of {need.part}: {room.takes(memory) / 1e9:.1f} GB foretold, "
            f"{room.free / 1e9:.1f} GB free on {room.where}"
        )
        try:
            require_room(need, room)
        except NoRoomError as error:
            if not anyway:
                raise
            log(f"{error.message}; started anyway")


def require_room(need: Need, room: Room) -> None:
    """Refuse what doesn't fit.

    Raises:
        NoRoomError: names the largest part, and the first way that would fit.
    """
    own = need.ways[0].memory
    if room.fits(own):
        return
    largest, size = max(parts_of(own).items(), key=lambda item: item[1])
    raise NoRoomError(
        f"{need.part} takes {room.takes(own) / 1e9:.1f} GB, {size / 1e9:.1f} GB of it for "
        f"{largest}; {room.free / 1e9:.1f} GB are free on {room.where}",
        hint=f"{remedy(need, room)}; or start it with --anyway",
    )


def remedy(need: Need, room: Room) -> str:
    """What fits instead, with figures; the least that there is where nothing does."""
    for way in need.ways[1:]:
        if room.fits(way.memory):
            return f"Set {way.spelled}: {room.takes(way.memory) / 1e9:.1f} GB"
    least = min(need.ways, key=lambda way: room.takes(way.memory))
    size = f"{room.takes(least.memory) / 1e9:.1f} GB"
    how = f"even with {least.spelled} it takes {size}" if least.settings else f"it takes {size}"
    return f"Take a smaller model, a larger card, or more cards with FSDP2: {how}"


def parts_of(memory: Memory) -> dict[str, float]:
    """Bytes by what they are for."""
    return {
        "frozen weights": memory.weights,
        "what trains": memory.trained,
        "activations": memory.activations,
        "logits": memory.logits,
        "gathered weights": memory.gathered,
        "cache while writing": memory.cache,
    }


def _quiet(_: str) -> None:
    pass
