"""Our own model with its language model on a server that takes embeddings, as vLLM does.

Regions are embedded here and go in with the words. What comes back is words of the language
model's own vocabulary: the pointer runs on no server, so names are read off plain words, as those
of a model of other makers.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruichat.errors import ConfigError, InputError, ModelError
from ruichat.model.chat_model import MAX_TOKENS, OptionScore, Piece, SlideContext, Usage
from ruichat.model.checkpoint_files import read_manifest
from ruichat.model.foreign_words import ForeignWords
from ruichat.model.native import refuse_encoder
from ruichat.model.openai_http import Endpoint, Server
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.prompt_embeds import PromptEmbedder, encode
from ruichat.model.region_state import RegionState, embed_regions, no_regions

PREFIX = "embeds:"
"""How such a model is named: "embeds:FOLDER"."""


@dataclass(frozen=True)
class EmbedsChatModel:
    """A checkpoint whose language model a server runs.

    Attributes:
        name: recorded with every answer.
        served: name of the language model on the server.
        server: runs it.
        embedder: spells prompts.
        processor: of the checkpoint.
        encoder: name of the encoder whose bags it reads.
        encoder_digest: digest of that encoder's weights; "" accepts any of that name.
    """

    name: str
    served: str
    server: Server
    embedder: PromptEmbedder
    processor: RuiChatProcessor
    encoder: str
    encoder_digest: str = ""

    @classmethod
    def connect(cls, model: str, endpoint: Endpoint) -> EmbedsChatModel:
        """Open a checkpoint and find its language model on a server; no slide is sent.

        Args:
            model: "embeds:FOLDER".
            endpoint: the server.

        Raises:
            ConfigError: there is no such folder, or the server runs several models.
            ArtifactError: a file of the checkpoint is missing or damaged.
            ModelError, PrerequisiteError: it can't be asked in this way, or the server can't be
                reached.
        """
        import torch

        folder = Path(model.removeprefix(PREFIX))
        if not folder.is_dir():
            raise ConfigError(f"no checkpoint folder {folder}", hint=f"Write {PREFIX}FOLDER")
        manifest = read_manifest(folder)
        name = str(manifest.details["name"])
        dtype = getattr(torch, str(manifest.details.get("dtype", "float32")))
        server = Server(endpoint)
        return cls(
            name=name,
            served=_served(server, name),
            server=server,
            embedder=PromptEmbedder(folder, dtype),
            processor=RuiChatProcessor.from_pretrained(folder),
            encoder=str(manifest.details["encoder"]),
            encoder_digest=manifest.made_from.get("encoder", ""),
        )

    @property
    def max_regions(self) -> int:
        """Regions a slide should be cut into at most."""
        return self.embedder.shape.max_regions

    @property
    def folder(self) -> Path | None:
        """None: what was measured on its answers elsewhere doesn't hold for these."""
        return None

    def open(self, slide: SlideContext | None) -> EmbedsSession:
        """Embed a slide's regions; they are sent with each question.

        Raises:
            ArtifactError: the bag comes from another encoder.
        """
        shape = self.embedder.shape
        regions, facts = no_regions(shape), ""
        if slide is not None:
            check_encoder(self, slide.bag.encoder, slide.bag.encoder_digest)
            regions = embed_regions(
                self.embedder.weights,
                shape,
                slide.bag.embeddings,
                slide.regions.assignment,
                slide.regions.geometry,
            )
            facts = slide.facts
        ids = self.processor.prefix_ids(len(regions.embeds), facts)
        return EmbedsSession(self, regions, tuple(ids), num_turns=0)


def _served(server: Server, name: str) -> str:
    known = server.models()
    if known is None or name in known:
        return name
    if len(known) == 1:
        return known[0]
    raise ConfigError(
        f"{server.endpoint.host} serves {len(known)} models, none of them {name!r}",
        hint=f"Serve the checkpoint's language model alone, or as --served-model-name {name}",
    )


class EmbedsSession:
    """One dialogue; see `chat_model.ChatSession`.

    Args:
        model: answers.
        regions: of the slide.
        ids: of the dialogue so far.
        num_turns: questions so far.
    """

    def __init__(
        self, model: EmbedsChatModel, regions: RegionState, ids: tuple[int, ...], num_turns: int
    ) -> None:
        self._model, self._regions = model, regions
        self._ids, self._num_turns = ids, num_turns
        self.was_cut = False
        """Whether the last answer ended because it had become too long."""
        self.usage: Usage | None = None
        """Tokens that the last answer took, where the server counts them."""

    def stream(
        self, question: str, *, max_tokens: int = MAX_TOKENS, think: bool | None = None
    ) -> Generator[Piece, None, None]:
        """See `chat_model.ChatSession`; closing the generator closes the connection.

        Raises:
            InputError: the question is empty or too long, or the dialogue is.
            ModelError, PrerequisiteError: a thought is asked for, or the server can't be reached,
                fails or breaks off.
        """
        if think:
            raise ModelError(
                "a server doesn't write the pieces that a thought stands between",
                hint="Ask without thinking, or load the model from its folder",
            )
        processor = self._model.processor
        asked = processor.question_ids(question, first=self._num_turns == 0)
        ids = (*self._ids, *asked)
        self._check_room(len(ids) + max_tokens + 1)
        words, text = ForeignWords(len(self._regions.embeds)), ""
        self.was_cut, self.usage = False, None
        try:
            with closing(self._bits(ids, max_tokens)) as bits:
                for said, logprob in bits:
                    for piece in words.feed(said, logprob):
                        text += piece.text
                        yield piece
            for piece in words.end():
                text += piece.text
                yield piece
        finally:
            # Names that it wrote are read as names, as in training.
            self._ids = (*ids, *processor.answer_ids(text))
            self._num_turns += 1

    def score(self, question: str, options: Sequence[str]) -> list[OptionScore]:
        """Not possible: such a server doesn't tell how likely a given answer is.

        Raises:
            ModelError: always.
        """
        del question, options
        raise ModelError(
            f"the server of {self._model.name} can't score given answers",
            hint="Let it answer in words, or load the model from its folder",
        )

    def fork(self) -> EmbedsSession:
        """See `chat_model.ChatSession`."""
        return EmbedsSession(self._model, self._regions, self._ids, self._num_turns)

    def _bits(self, ids: Sequence[int], max_tokens: int) -> Generator[tuple[str, float]]:
        """Words as they come, with their log-probabilities; NaN where the server doesn't say."""
        model = self._model
        body: dict[str, Any] = {
            "model": model.served,
            # The documented way to say that there is nothing but embeddings.
            "prompt": "",
            "prompt_embeds": encode(model.embedder.embed(ids, self._regions)),
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            "max_tokens": max_tokens,
            "logprobs": 1,
        }
        if model.processor.end_id < model.embedder.shape.vocab_size:
            body["stop_token_ids"] = [model.processor.end_id]
        for heard in model.server.stream("/completions", body):
            choice, self.usage = heard.choice, heard.usage or self.usage
            self.was_cut = self.was_cut or choice.get("finish_reason") == "length"
            text = choice.get("text")
            if isinstance(text, str) and text:
                yield text, _logprob(choice.get("logprobs"))

    def _check_room(self, num: int) -> None:
        room = self._model.embedder.shape.max_positions
        if num > room:
            raise InputError(
                f"the dialogue would reach {num} text tokens; {self._model.name} reads {room}",
                hint="Start a new chat about this slide",
            )


def check_encoder(model: EmbedsChatModel, encoder: str, digest: str) -> None:
    """Refuse a bag that a model wasn't trained to read.

    Raises:
        ArtifactError: naming both encoders.
    """
    if encoder != model.encoder or model.encoder_digest not in ("", digest):
        refuse_encoder(model.name, (encoder, digest), (model.encoder, model.encoder_digest))


def _logprob(logprobs: Any) -> float:
    """Of all tokens of an event together."""
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    told = isinstance(values, list) and all(isinstance(v, int | float) for v in values)
    return float(sum(values)) if told and values else math.nan
