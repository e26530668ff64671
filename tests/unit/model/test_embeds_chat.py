"""A server that is given embeddings answers as our own model would without its pointer."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes_model import tiny_language_model, tiny_slide
from fakes_server import FakeServer, Handler, Reply, in_turn, says, serve
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from ruichat.errors import ArtifactError, ConfigError, InputError, ModelError
from ruichat.model.chat_model import Usage
from ruichat.model.checkpoint import MINI_DIR, save_checkpoint
from ruichat.model.embeds_chat import EmbedsChatModel
from ruichat.model.foreign_words import ForeignWords
from ruichat.model.hub_tokenizer import HubTokenizer
from ruichat.model.language_model import ModelChoices, build_model, load_language_model
from ruichat.model.network import load_network
from ruichat.model.openai_http import Endpoint
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.served import write_language_model

QUESTION = "Is there tumour in [R2]?"


def checkpoint(folder: Path, lm: Path, *, adapted: bool, **choices: Any) -> Path:
    """Ours around a random language model, with an adapter where wanted."""
    loaded = load_language_model(str(lm), dtype=torch.float32)
    processor = RuiChatProcessor.for_language_model(lm, loaded.num_ids)
    wanted = ModelChoices(encoder="mini", bag_dim=12, max_regions=6, **choices)
    model: Any = build_model(loaded, processor, wanted)
    if adapted:
        torch.manual_seed(3)
        saved = ["region_encoder", "pointer", "pieces"]
        lora = LoraConfig(
            r=2, target_modules=["q_proj", "down_proj"], modules_to_save=saved,
            init_lora_weights=False,
        )  # fmt: skip
        model = get_peft_model(model, lora)
        with torch.no_grad():
            for name, value in model.named_parameters():
                if "modules_to_save" in name:
                    value.add_(0.1 * torch.randn_like(value))
    return save_checkpoint(folder, model, processor, name="ours", encoder_digest="d1")


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language_model(tmp_path_factory.mktemp("lm"), "qwen3")


@pytest.fixture(scope="module", params=[False, True], ids=["aligned", "adapted"])
def folder(request: Any, lm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("ours"), lm, adapted=request.param)


def embeddings(body: dict[str, Any]) -> torch.Tensor:
    """What vLLM reads of a request."""
    file = io.BytesIO(base64.b64decode(body["prompt_embeds"], validate=True))
    found = torch.load(file, weights_only=True)
    assert found.dtype in (torch.float32, torch.bfloat16, torch.float16) and found.ndim == 2
    return found


def runs(folder: Path) -> Reply:
    """A server that runs the language model in a folder on embeddings, greedily."""
    causal = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = HubTokenizer(folder / "tokenizer.json")

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        assert body["prompt"] == "" and body["temperature"] == 0
        embeds, stop = embeddings(body)[None], body["stop_token_ids"]
        handler.begin()
        for _ in range(body["max_tokens"]):
            with torch.inference_mode():
                logprobs = causal(inputs_embeds=embeds).logits[0, -1].log_softmax(-1)
            chosen = int(logprobs.argmax())
            if chosen in stop:
                break
            word = tokenizer.spell(chosen).decode("latin-1")
            told = {"tokens": [word], "token_logprobs": [float(logprobs[chosen])]}
            handler.event({"choices": [{"text": word, "logprobs": told, "finish_reason": None}]})
            row = causal.get_input_embeddings()(torch.tensor([[chosen]]))
            embeds = torch.cat([embeds, row], dim=1)
        handler.event({"choices": [{"text": "", "finish_reason": "stop"}]})
        handler.end()

    return reply


def locally(folder: Path, ids: list[int], slide: Any, num: int) -> str:
    """What our own model writes from its own vocabulary alone."""
    network, processor = load_network(folder), RuiChatProcessor.from_pretrained(folder)
    text = ""
    with torch.inference_mode():
        regions = network.encode_regions(
            torch.from_numpy(slide.bag.embeddings)[None],
            torch.from_numpy(slide.regions.assignment)[None],
            torch.from_numpy(slide.regions.geometry)[None],
        )
        for _ in range(num):
            hidden = network.language_model(
                inputs_embeds=network.embed(torch.tensor([ids]), regions, None)
            ).last_hidden_state[0, -1]
            chosen = int(network.word_logits(hidden).argmax())
            if chosen == processor.end_id:
                break
            text += processor.tokenizer.spell(chosen).decode("latin-1")
            ids = [*ids, chosen]
    return text


def read(text: str, num_regions: int) -> str:
    words = ForeignWords(num_regions)
    pieces = [*words.feed(text, math.nan), *words.end()]
    return "".join(piece.text for piece in pieces)


def connect(server: FakeServer, folder: Path) -> EmbedsChatModel:
    return EmbedsChatModel.connect(f"embeds:{folder}", Endpoint(server.url, first_pause_s=0.01))


def test_a_server_writes_what_our_model_would(folder: Path, tmp_path: Path) -> None:
    served = write_language_model(folder, tmp_path / "lm")
    slide = tiny_slide(max_regions=6)
    with serve(runs(served), models=["anything"]) as server:
        model = connect(server, folder)
        assert model.served == "anything" and model.name == "ours"
        session = model.open(slide)
        answers = [
            "".join(p.text for p in session.stream(q, max_tokens=8)) for q in (QUESTION, "?")
        ]
        bodies = server.requests
    processor = RuiChatProcessor.from_pretrained(folder)
    ids = [*processor.prefix_ids(len(slide.regions), slide.facts)]
    for number, (question, answer) in enumerate(zip((QUESTION, "?"), answers, strict=True)):
        ids += processor.question_ids(question, first=number == 0)
        expected = locally(folder, ids, slide, 8)
        assert expected and answer == read(expected, len(slide.regions))
        ids += processor.answer_ids(answer)
    found = embeddings(bodies[0])
    network = load_network(folder)
    with torch.inference_mode():
        regions = network.encode_regions(
            torch.from_numpy(slide.bag.embeddings)[None],
            torch.from_numpy(slide.regions.assignment)[None],
            torch.from_numpy(slide.regions.geometry)[None],
        )
        asked = processor.question_ids(QUESTION)
        whole = [*processor.prefix_ids(len(slide.regions), slide.facts), *asked]
        own = network.embed(torch.tensor([whole]), regions, None)[0]
    torch.testing.assert_close(found, own, atol=1e-5, rtol=1e-5)
    assert bodies[0]["stop_token_ids"] == [processor.end_id]


@pytest.fixture
def names(folder: Path) -> Iterator[tuple[FakeServer, EmbedsChatModel]]:
    with serve(says_text("Glands in [R2] and region 3.")) as server:
        yield server, connect(server, folder)


def says_text(text: str, finish: str = "stop") -> Reply:
    def reply(handler: Handler, body: dict[str, Any]) -> None:
        handler.begin()
        handler.event({"choices": [{"text": text, "finish_reason": finish}]})
        usage = {"prompt_tokens": 40, "completion_tokens": len(text.split())}
        handler.event({"choices": [], "usage": usage})
        handler.end()

    return reply


def test_names_in_words_become_citations(names: tuple[FakeServer, EmbedsChatModel]) -> None:
    server, model = names
    session = model.open(tiny_slide(max_regions=6))
    twin = session.fork()
    pieces = list(session.stream(QUESTION))
    assert [p.region for p in pieces if p.region is not None] == [1, 2]
    assert math.isnan(pieces[0].logprob)
    list(session.stream("And?"))
    list(twin.stream(QUESTION))
    lengths = [len(embeddings(body)) for body in server.requests]
    assert lengths[0] == lengths[2] < lengths[1]


def test_an_answer_that_is_cut_off_says_so(folder: Path) -> None:
    with serve(in_turn(says_text("Glands in", "length"), says_text("No."))) as server:
        session = connect(server, folder).open(tiny_slide(max_regions=6))
        list(session.stream(QUESTION))
        assert session.was_cut and session.usage == Usage(40, None, 2)
        list(session.stream("And fat?"))
        assert not session.was_cut


def test_what_a_server_cannot_do_is_refused(names: tuple[FakeServer, EmbedsChatModel]) -> None:
    _, model = names
    session = model.open(tiny_slide(max_regions=6))
    with pytest.raises(ModelError, match="thought"):
        list(session.stream(QUESTION, think=True))
    with pytest.raises(ModelError, match="can't score"):
        session.score(QUESTION, ["yes"])
    with pytest.raises(InputError, match="text tokens"):
        list(session.stream(QUESTION, max_tokens=10_000))
    with pytest.raises(ArtifactError, match="made by encoder 'other'"):
        model.open(tiny_slide(max_regions=6, encoder="other"))


def test_the_model_has_to_be_found(folder: Path, tmp_path: Path) -> None:
    with serve(says("x"), models=["a", "b"]) as server:
        with pytest.raises(ConfigError, match="serves 2 models, none of them 'ours'"):
            connect(server, folder)
        server.models = ["a", "ours"]
        assert connect(server, folder).served == "ours"
        with pytest.raises(ConfigError, match="no checkpoint folder"):
            connect(server, tmp_path / "none")


def test_regions_in_deeper_layers_stay_here(lm: Path, tmp_path: Path) -> None:
    deep = checkpoint(tmp_path / "deep", lm, adapted=False, inject_layers=(1,))
    with serve(says("x")) as server, pytest.raises(ModelError, match="deeper layers"):
        connect(server, deep)


def test_mini_is_not_for_servers(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="isn't one that servers read"):
        write_language_model(MINI_DIR, tmp_path / "lm")
    (tmp_path / "x").write_text("")
    with pytest.raises(ConfigError, match="isn't empty"):
        write_language_model(MINI_DIR, tmp_path)
