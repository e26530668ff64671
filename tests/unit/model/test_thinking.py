"""Thoughts stand before their answer, are bounded and marked, and can be asked for or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes_model import tiny_model

from ruichat.errors import ModelError
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.region_state import embed_regions

FORMS = {
    "openvino-tied": ("openvino", {}),
    "openvino-untied": ("openvino", {"text": {"tie_word_embeddings": False}}),
    "torch-tied": ("torch", {}),
    "torch-untied": ("torch", {"text": {"tie_word_embeddings": False}}),
}
QUESTION = "Is there tumour in R2 or R3?"


@pytest.fixture(scope="module", params=list(FORMS))
def model(request, processor, tmp_path_factory):
    runtime, settings = FORMS[request.param]
    folder = tmp_path_factory.mktemp("thinking")
    network = tiny_model(processor.vocab_size, num_added=2, **settings)
    save_checkpoint(folder, network, processor, name="thinker", encoder_digest="d1")
    return load_checkpoint(folder, runtime, num_threads=1)


@pytest.fixture
def network(model, tmp_path):
    return load_checkpoint(model.folder, "torch").decoder.model


def bag_of(slide):
    return {
        "tile_embeddings": torch.from_numpy(slide.bag.embeddings)[None],
        "tile_region": torch.from_numpy(slide.regions.assignment)[None],
        "region_geometry": torch.from_numpy(slide.regions.geometry)[None],
    }


def test_added_pieces_are_read_and_written_alike(model, network, processor, slide):
    ids = processor.prefix_ids(6, slide.facts) + processor.question_ids(QUESTION)
    ids += processor.answer_ids("yes [R2]", "glands {focus} [R2]")
    assert processor.pieces.think == processor.vocab_size
    state = model.decoder.start()
    regions = embed_regions(
        model.weights, model.shape, slide.bag.embeddings, slide.regions.assignment,
        slide.regions.geometry,
    )  # fmt: skip
    got = model.decoder.read(state, ids, regions, keep=len(ids))
    with torch.no_grad():
        expected = network(torch.tensor([ids]), **bag_of(slide)).logits[0].numpy()
    assert got.shape[1] == expected.shape[1] == processor.vocab_size + 2
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(got[finite], expected[finite], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("most", [0, 1, 7])
def test_a_thought_is_opened_closed_and_followed_by_the_answer(
    model, network, processor, slide, most
):
    session = model.open(slide)
    stream = session.stream(QUESTION, max_tokens=5, think=True, max_thought_tokens=most)
    pieces = list(stream)
    thought = [p for p in pieces if p.thought]
    assert pieces[: len(thought)] == thought
    assert thought[0].token_id == processor.pieces.think
    assert thought[-1].token_id == processor.pieces.think_end
    assert 2 <= len(thought) <= most + 2
    assert 0 <= len(pieces) - len(thought) <= 5
    turn = session.turns[-1]
    assert turn.thought.startswith("".join(p.text for p in thought))
    assert turn.answer.startswith("".join(p.text for p in pieces if not p.thought))
    # The answer is what the model would say after this thought in one uncached pass.
    ids = processor.prefix_ids(6, slide.facts) + processor.question_ids(QUESTION)
    written = [p.token_id for p in pieces]
    with torch.no_grad():
        logits = network(torch.tensor([ids + written]), **bag_of(slide)).logits[0]
    barred = [*processor.pieces.never_written, processor.pieces.think, processor.pieces.think_end]
    logits[:, barred] = -torch.inf
    first = len(ids) + len(thought)
    best = logits[first - 1 : len(ids) + len(written) - 1].argmax(-1).tolist()
    assert best == written[len(thought) :]


def test_without_a_thought_none_is_written(model, slide, processor):
    pieces = list(model.open(slide).stream(QUESTION, max_tokens=20, think=False))
    thinking = {processor.pieces.think, processor.pieces.think_end}
    assert not any(p.thought or p.token_id in thinking for p in pieces)


def test_left_to_itself_it_thinks_where_that_is_likeliest(model, slide, processor):
    session = model.open(slide)
    opening = next(session.fork().stream(QUESTION))
    choices = [next(session.fork().stream(QUESTION, think=think), None) for think in (True, False)]
    assert opening.token_id in {p.token_id for p in choices if p is not None}


def test_a_reader_who_leaves_within_a_thought_leaves_it_whole(model, slide, processor):
    session = model.open(slide)
    stream = session.stream(QUESTION, think=True, max_thought_tokens=20)
    said = [next(stream) for _ in range(3)]
    stream.close()
    assert all(p.thought for p in said)
    turn = session.turns[-1]
    assert turn.answer == "" and turn.thought == "".join(p.text for p in said)
    before = session.num_tokens
    prefix = processor.prefix_ids(6, slide.facts) + processor.question_ids(QUESTION)
    assert before == len(prefix) + len(said) + 2
    assert list(session.stream(QUESTION, max_tokens=3, think=False))


def test_scores_are_of_answers_without_a_thought(model, slide):
    session = model.open(slide)
    score = session.score(QUESTION, ["yes", "no [R1]"])
    assert all(np.isfinite(s.logprob) for s in score)


def test_a_model_without_thoughts_says_so(processor, slide, tmp_path):
    network = tiny_model(processor.vocab_size)
    save_checkpoint(tmp_path, network, processor, name="plain", encoder_digest="d1")
    model = load_checkpoint(tmp_path, num_threads=1)
    assert not model.thinks
    with pytest.raises(ModelError, match="wasn't trained to think"):
        next(model.open(slide).stream(QUESTION, think=True))
    assert list(model.open(slide).stream(QUESTION, max_tokens=3, think=None)) is not None
