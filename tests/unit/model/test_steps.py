"""OpenVINO, torch and transformers' generate must agree, and reuse must change nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from fakes_model import tiny_model, tiny_slide

from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.native import NativeSession
from ruichat.model.openvino_step import BUCKET
from ruichat.model.region_state import embed_regions

FORMS = {
    "mlp-attention": {},
    "linear-mean": {"projector": "linear", "pool": "mean"},
    "llama-untied-biased": {
        "text": {"model_type": "llama", "tie_word_embeddings": False, "num_key_value_heads": 4}
    },
}
QUESTIONS = ("Is there tumour in R2 or R3?", "切片上有肿瘤吗？在哪里？", "why")


@pytest.fixture(scope="module", params=list(FORMS))
def pair(request, processor, tmp_path_factory):
    """The same checkpoint in OpenVINO and in torch."""
    folder = tmp_path_factory.mktemp("pair")
    model = tiny_model(processor.vocab_size, **FORMS[request.param])
    save_checkpoint(folder, model, processor, name="pair", encoder_digest="d1")
    return load_checkpoint(folder, "openvino", num_threads=1), load_checkpoint(folder, "torch")


def regions_of(model, slide):
    return embed_regions(
        model.weights,
        model.shape,
        slide.bag.embeddings,
        slide.regions.assignment,
        slide.regions.geometry,
    )


def uncached(model, slide, ids):
    """Logits of the whole sequence in one pass of the torch model, -inf where never written."""
    network = model.decoder.model
    with torch.no_grad():
        logits = network(
            torch.tensor([ids]),
            tile_embeddings=torch.from_numpy(slide.bag.embeddings)[None],
            tile_region=torch.from_numpy(slide.regions.assignment)[None],
            region_geometry=torch.from_numpy(slide.regions.geometry)[None],
        ).logits[0]
    return logits.numpy()


def test_regions_in_numpy_equal_those_in_torch(pair, slide):
    _, native = pair
    state = regions_of(native, slide)
    network = native.decoder.model
    with torch.no_grad():
        embeds = network.encode_regions(
            torch.from_numpy(slide.bag.embeddings)[None],
            torch.from_numpy(slide.regions.assignment)[None],
            torch.from_numpy(slide.regions.geometry)[None],
        )
        hidden = torch.randn(1, 4, embeds.shape[-1])
        scores = network.pointer(hidden, embeds)
    np.testing.assert_allclose(state.embeds, embeds[0], atol=2e-6, rtol=1e-5)
    np.testing.assert_allclose(hidden[0].numpy() @ state.pointer, scores[0], atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_logits_agree_whatever_the_pieces_they_are_read_in(pair, slide, processor, chunk):
    """Past several buffers, so that growing is covered too."""
    ids = processor.prefix_ids(len(slide.regions), slide.facts)
    while len(ids) < 1.3 * BUCKET:
        ids += processor.question_ids(QUESTIONS[0]) + processor.answer_ids("glands [R1] {focus}")
    expected = uncached(pair[1], slide, ids)
    for model in pair:
        state, regions, got = model.decoder.start(), regions_of(model, slide), []
        for at in range(0, len(ids), chunk):
            part = ids[at : at + chunk]
            got.append(model.decoder.read(state, part, regions, keep=len(part)))
        assert state.length == len(ids)
        finite = np.isfinite(expected)
        logits = np.concatenate(got)
        np.testing.assert_array_equal(np.isfinite(logits), finite)
        np.testing.assert_allclose(logits[finite], expected[finite], atol=1e-4, rtol=1e-4)


def test_greedy_text_is_the_same_in_both_runtimes(pair, slide):
    sessions = [model.open(slide) for model in pair]
    for question in QUESTIONS:
        a, b = (list(s.stream(question, max_tokens=20)) for s in sessions)
        assert [(p.token_id, p.text) for p in a] == [(p.token_id, p.text) for p in b]
        np.testing.assert_allclose([p.logprob for p in a], [p.logprob for p in b], atol=1e-3)


def test_streaming_equals_generate_over_turns(pair, slide, processor):
    """Each turn on the cached prefix equals transformers on the whole dialogue from scratch."""
    fast, native = pair
    network = native.decoder.model
    bag = {
        "tile_embeddings": torch.from_numpy(slide.bag.embeddings)[None],
        "tile_region": torch.from_numpy(slide.regions.assignment)[None],
        "region_geometry": torch.from_numpy(slide.regions.geometry)[None],
    }
    session = fast.open(slide)
    ids = processor.prefix_ids(len(slide.regions), slide.facts)
    for question in QUESTIONS:
        ids += processor.question_ids(question)
        out = network.generate(
            torch.tensor([ids]), **bag, max_new_tokens=10, do_sample=False,
            eos_token_id=processor.end_id, suppress_tokens=list(processor.pieces.never_written),
        )[0].tolist()  # fmt: skip
        written = [i for i in out[len(ids) :] if i != processor.end_id]
        pieces = list(session.stream(question, max_tokens=10))
        assert [p.token_id for p in pieces] == written
        assert session.turns[-1].answer == processor.decode(written)
        # A character that was never completed is not streamed.
        assert processor.decode(written).startswith("".join(p.text for p in pieces))
        ids += [*written, processor.end_id]
        assert session.num_tokens == len(ids)


def test_the_prefix_is_read_once(pair, slide, processor, monkeypatch):
    fast, _ = pair
    session, sizes = fast.open(slide), []
    read = NativeSession._read
    monkeypatch.setattr(
        NativeSession,
        "_read",
        lambda s, ids, keep=1: (sizes.append(len(ids)), read(s, ids, keep))[1],
    )
    for question in QUESTIONS:
        list(session.stream(question, max_tokens=3))
    longest = max(len(processor.question_ids(q)) for q in QUESTIONS)
    assert max(sizes) <= longest + 2
    assert len(sizes) <= 3 * len(QUESTIONS)


def test_stopping_early_keeps_what_was_said(pair, slide, processor):
    fast, native = pair
    session = fast.open(slide)
    stream = session.stream(QUESTIONS[0], max_tokens=20)
    said = [next(stream) for _ in range(3)]
    stream.close()
    ids = processor.prefix_ids(len(slide.regions), slide.facts)
    ids += processor.question_ids(QUESTIONS[0]) + [p.token_id for p in said] + [processor.end_id]
    ids += processor.question_ids(QUESTIONS[1])
    logits = uncached(native, slide, ids)[-1]
    logits[list(processor.pieces.never_written)] = -np.inf
    assert next(session.stream(QUESTIONS[1])).token_id == int(logits.argmax())


def test_scores_equal_those_of_one_pass(pair, slide, processor):
    fast, native = pair
    options = ["yes", "glands [R2] in stroma", "有"]
    scores = fast.open(slide).score(QUESTIONS[0], options)
    head = processor.prefix_ids(len(slide.regions), slide.facts)
    head += processor.question_ids(QUESTIONS[0])
    for option, score in zip(options, scores, strict=True):
        answer = processor.answer_ids(option)
        logits = uncached(native, slide, head + answer)[len(head) - 1 : -1]
        logits[:, list(processor.pieces.never_written)] = -np.inf
        logprobs = torch.from_numpy(logits).log_softmax(-1)[range(len(answer)), answer]
        assert score.num_tokens == len(answer)
        assert score.logprob == pytest.approx(float(logprobs.sum()), abs=2e-3)


def test_sessions_of_one_model_do_not_mix(pair):
    """They share one request; interleaving them must change nothing."""
    fast, _ = pair
    slides = [tiny_slide(30, 5, seed=1), tiny_slide(40, 6, seed=2)]
    alone = [[p.token_id for p in fast.open(s).stream(QUESTIONS[0], max_tokens=8)] for s in slides]
    streams = [fast.open(s).stream(QUESTIONS[0], max_tokens=8) for s in slides]
    mixed: list[list[int]] = [[], []]
    for _ in range(8):
        for stream, got in zip(streams, mixed, strict=True):
            got += [piece.token_id for piece in [next(stream, None)] if piece is not None]
    assert mixed == alone


def test_answering_loads_neither_torch_nor_transformers(processor, tmp_path):
    """They cost seconds of a cold start, and OpenVINO doesn't need them."""
    model = tiny_model(processor.vocab_size)
    save_checkpoint(tmp_path, model, processor, name="tiny", encoder_digest="d1")
    code = (
        "import sys; from pathlib import Path;"
        "from ruichat.model.checkpoint import load_checkpoint;"
        f"m = load_checkpoint(Path({str(tmp_path)!r}), num_threads=1);"
        "list(m.open(None).stream('why', max_tokens=3));"
        "heavy = {'torch', 'transformers', 'peft'} & set(sys.modules);"
        "print(m.decoder.runtime, sorted(heavy))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "openvino []"


def test_answering_loads_nothing_that_calls_out(processor, tmp_path):
    model = tiny_model(processor.vocab_size)
    save_checkpoint(tmp_path, model, processor, name="pair", encoder_digest="d1")
    code = (
        "import sys; from pathlib import Path;"
        "from ruichat.model.checkpoint import load_checkpoint;"
        "load_checkpoint(Path(sys.argv[1]), 'openvino', num_threads=1);"
        "print(sorted(m for m in sys.modules if m.startswith('openvino_telemetry.')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
