"""What every language model behind the door must do: ours in each runtime and form."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes_model import tiny_model, tiny_slide, train_tokenizer

from ruichat.errors import ArtifactError, InputError
from ruichat.model.chat_model import CHAT_MODELS, ChatModel, ChatSession, Piece, SlideContext
from ruichat.model.checkpoint import MINI_DIR, load_checkpoint, save_checkpoint
from ruichat.model.processing import RuiChatProcessor
from ruichat.registry import load_object

FORMS = {
    "openvino-mlp-attention": ("openvino", {}),
    "torch-mlp-attention": ("torch", {}),
    "openvino-linear-mean": ("openvino", {"projector": "linear", "pool": "mean"}),
    "openvino-llama": ("openvino", {"text": {"model_type": "llama"}}),
}
QUESTIONS = ("Is there tumour in R2?", "切片上有肿瘤吗？", "why")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    processor = RuiChatProcessor(train_tokenizer(root))
    for name, (_, settings) in FORMS.items():
        model = tiny_model(processor.vocab_size, **settings)
        save_checkpoint(root / name, model, processor, name=name, encoder_digest="d1")
    return root


@pytest.fixture(scope="module", params=[*FORMS, *CHAT_MODELS])
def model(request: pytest.FixtureRequest, folders: Path) -> ChatModel:
    if request.param in FORMS:
        return load_checkpoint(folders / request.param, FORMS[request.param][0], num_threads=1)
    if request.param == "mini" and not (MINI_DIR / "manifest.json").is_file():
        pytest.skip("the embedded model's weights aren't in this checkout")
    loader = load_object(CHAT_MODELS.get(request.param).loader)
    assert callable(loader)
    return loader()


@pytest.fixture(scope="module")
def slide(model: ChatModel) -> SlideContext:
    return tiny_slide(like=model)


def ask(session: ChatSession, question: str, max_tokens: int = 12) -> list[Piece]:
    return list(session.stream(question, max_tokens=max_tokens))


def ids(pieces: list[Piece]) -> list[int]:
    return [piece.token_id for piece in pieces]


def test_it_says_its_name(model):
    assert model.name


def test_answers_are_the_same_each_time(model, slide):
    first, second = model.open(slide), model.open(slide)
    for question in QUESTIONS:
        assert ask(first, question) == ask(second, question)


def test_pieces_say_what_they_name(model, slide):
    session = model.open(slide)
    for question in QUESTIONS:
        for piece in ask(session, question):
            assert piece.logprob <= 0 and math.isfinite(piece.logprob)
            if piece.region is not None:
                assert piece.text == f"[R{piece.region + 1}]"
                assert piece.region < len(slide.regions)
            if piece.fact is not None:
                assert piece.text == f"{{{piece.fact}}}"


def test_the_slide_matters(model, slide):
    other = tiny_slide(seed=5, like=model)
    options = ["yes", "no", "[R1]", "[R2]"]
    here = model.open(slide).score(QUESTIONS[0], options)
    there = model.open(other).score(QUESTIONS[0], options)
    assert any(abs(a.logprob - b.logprob) > 1e-3 for a, b in zip(here, there, strict=True))


def test_without_a_slide_no_region_is_named(model):
    session = model.open(None)
    for question in QUESTIONS:
        assert all(piece.region is None for piece in ask(session, question))


def test_a_fork_goes_its_own_way(model, slide):
    session = model.open(slide)
    ask(session, QUESTIONS[0])
    twin = session.fork()
    expected = ask(session, QUESTIONS[1])
    ask(twin.fork(), QUESTIONS[2])
    assert ids(ask(twin, QUESTIONS[1])) == ids(expected)


def test_a_fork_of_the_slide_alone_knows_no_turns(model, slide):
    session = model.open(slide)
    expected = ask(session.fork(), QUESTIONS[1])
    ask(session.fork(), QUESTIONS[0])
    assert ask(session.fork(), QUESTIONS[1]) == expected


def test_scoring_leaves_the_dialogue_as_it_was(model, slide):
    plain, scored = model.open(slide), model.open(slide)
    ask(plain, QUESTIONS[0])
    ask(scored, QUESTIONS[0])
    scored.score(QUESTIONS[1], ["yes", "no [R1]"])
    assert ids(ask(scored, QUESTIONS[2])) == ids(ask(plain, QUESTIONS[2]))


def test_scores_are_log_probabilities_of_whole_answers(model, slide):
    session = model.open(slide)
    options = ["yes", "no", "glands [R1][R2] and stroma"]
    scores = session.score(QUESTIONS[0], options)
    assert all(score.logprob < 0 and score.num_tokens >= 2 for score in scores)
    assert sum(math.exp(score.logprob) for score in scores) <= 1 + 1e-6
    alone = [session.score(QUESTIONS[0], [option])[0] for option in options]
    np.testing.assert_allclose(
        [s.logprob for s in alone], [s.logprob for s in scores], rtol=1e-4, atol=1e-4
    )


def test_a_reader_may_stop_early(model, slide):
    session = model.open(slide)
    with closing(session.stream(QUESTIONS[0])) as pieces:
        next(pieces, None)
    assert isinstance(ask(session, QUESTIONS[1]), list)


@pytest.mark.parametrize("question", ["", "   ", "x" * 100_000])
def test_questions_that_cannot_be_read_change_nothing(model, slide, question):
    session = model.open(slide)
    with pytest.raises(InputError) as caught:
        ask(session, question)
    assert caught.value.hint
    assert ids(ask(session, QUESTIONS[0])) == ids(ask(model.open(slide), QUESTIONS[0]))


def test_an_endless_dialogue_is_refused(model, slide):
    session = model.open(slide)
    with pytest.raises(InputError, match="text tokens"):
        for _ in range(500):
            ask(session, QUESTIONS[0])


def test_bags_of_another_encoder_are_refused(model, slide):
    stranger = tiny_slide(like=model, encoder="uni2", encoder_digest="d9")
    with pytest.raises(ArtifactError, match="uni2") as caught:
        model.open(stranger)
    assert "Re-extract" in caught.value.hint
