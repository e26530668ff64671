"""Any language model's tokenizer and chat template: one splice, and proof against users' text."""

from __future__ import annotations

import json

import pytest
from fakes_model import CHATML, hub_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.errors import ArtifactError, InputError, ModelError
from ruichat.model import vocabulary as v
from ruichat.model.processing import IGNORED, RuiChatProcessor, Turn

NUM_BASE = 1000
KINDS = ("bytes", "blanks")


@pytest.fixture(scope="module", params=KINDS)
def processor(request, tmp_path_factory):
    folder = hub_tokenizer(tmp_path_factory.mktemp("hub"), request.param)
    return RuiChatProcessor.for_language_model(folder, NUM_BASE)


def structure_of(processor):
    """Ids that text may never encode to."""
    written = {*v.REGION_PIECES}
    ids = {i for name, i in processor.pieces.ids.items() if name not in written}
    return ids | set(processor.pieces.unused)


def test_missing_pieces_follow_the_vocabulary(processor):
    pieces = processor.pieces
    assert processor.vocab_size == NUM_BASE
    assert v.USER not in pieces.added and pieces.ids[v.USER] < NUM_BASE
    assert len(pieces.added) == len(v.OUR_PIECES) - 1
    ids = [pieces.ids[name] for name in pieces.added]
    assert ids == list(range(NUM_BASE, NUM_BASE + len(ids)))
    names = [pieces.ids[name] for name in v.REGION_PIECES]
    assert names == list(range(pieces.first_region, pieces.first_region + v.NUM_REGION_IDS))
    assert pieces.end == processor.tokenizer.structure["<|im_end|>"]


def test_never_written_is_all_structure_but_the_end(processor):
    barred = set(processor.pieces.never_written)
    assert {processor.tokenizer.structure[name] for name in ("<s>", "<think>")} <= barred
    assert set(range(processor.tokenizer.num_ids, NUM_BASE)) <= barred
    kept = {processor.pieces.end, processor.pieces.cannot, processor.pieces.think}
    assert not barred & kept
    assert not barred & set(processor.answer_ids("glands [R7]\n\n{tissue_mm2}", "so"))


pieces = st.sampled_from(
    [*v.CONTROL_PIECES, *v.THINK_PIECES, *v.FACT_PIECES, "<s>", "</s>", "<unk>", "<|im_start|>",
     "<|im_end|>", "<think>", "＜think＞", "<0x41>", "im_start|>", "<|", "\n\n", "[R1", "7]"]
)  # fmt: skip
hostile = st.lists(pieces | st.text(max_size=6), min_size=1, max_size=8).map("".join)


@settings(max_examples=150, deadline=None)
@given(text=hostile)
def test_users_cannot_type_structure(processor, text):
    try:
        ids = processor.user_ids(text)
    except InputError:
        return
    assert not structure_of(processor) & set(ids)
    assert not structure_of(processor) & set(processor.tokenizer.encode(text))


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(alphabet="abc tumour, 切片上有肿瘤吗\U0001f600é{}[]<|>_", min_size=1, max_size=40)
)
def test_plain_text_comes_back(processor, text):
    """In one piece and in parts: nothing is put before a text, and nothing is cut off."""
    assert processor.decode(processor.tokenizer.encode(text)) == text
    half = len(text) // 2
    parts = [*processor.tokenizer.encode(text[:half]), *processor.tokenizer.encode(text[half:])]
    assert processor.decode(parts) == text


def test_what_users_type_keeps_its_spelling(processor):
    text = "say {tissue_mm2} <|im_end|> <think> and <|slide|> now"
    assert processor.decode(processor.user_ids(text)) == text


def test_long_texts_are_read_whole(processor):
    text = "tumour and stroma " * 40
    assert processor.decode(processor.tokenizer.encode(text)) == text


TURNS = [Turn("in R2?", "fat [R2]"), Turn("why", "<|cannot|>and", "because {focus} [R1]")]


def test_a_dialogue_is_in_the_form_of_the_template(processor):
    encoded = processor.dialogue(TURNS, 2, "f {focus}")
    assert processor.show(encoded.input_ids) == (
        "<|im_start|>system\n<|slide|>[R1][R2]<|facts|>f {focus}<|im_end|>\n"
        "<|im_start|>user\nin [R2]?<|im_end|>\n<|im_start|>assistant\nfat [R2]<|im_end|>\n"
        "<|im_start|>user\nwhy<|im_end|>\n<|im_start|>assistant\n"
        "<|think|>because {focus} [R1]<|/think|><|cannot|>and<|im_end|>"
    )
    asked = [i for i, label in zip(encoded.input_ids, encoded.labels, strict=True) if label >= 0]
    assert processor.show(asked) == (
        "fat [R2]<|im_end|><|think|>because {focus} [R1]<|/think|><|cannot|>and<|im_end|>"
    )
    assert all(
        i == j or j == IGNORED for i, j in zip(encoded.input_ids, encoded.labels, strict=True)
    )
    assert sum(processor.turn_tokens(t, first=i == 0) for i, t in enumerate(TURNS)) == len(
        encoded.input_ids
    ) - len(processor.prefix_ids(2, "f {focus}"))


def test_it_comes_back_from_a_checkpoint_without_its_template(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["processor.json", "tokenizer.json"]
    again = RuiChatProcessor.from_pretrained(tmp_path)
    assert again.pieces == processor.pieces and again.form == processor.form
    assert again.dialogue(TURNS, 2, "f") == processor.dialogue(TURNS, 2, "f")
    (tmp_path / "processor.json").write_text('{"schema_version": 2}')
    with pytest.raises(ArtifactError, match=r"processor\.json"):
        RuiChatProcessor.from_pretrained(tmp_path)


FOLDED = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set intro = messages[0]['content'] + '\n\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set intro = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<|im_start|>{{ m['role'] }}\n{% if loop.first %}{{ intro }}{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
INSTRUCT = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
    "{% elif m['role'] == 'user' %}<s>[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} </s>{% endif %}{% endfor %}"
)
WORDS = "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }}\n{% endfor %}"
DROPPING = "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (FOLDED,
         "<s><|im_start|>user\n<|slide|>[R1]<|facts|>f\n\nwhy<|im_end|>\n<|im_start|>assistant\n"
         "yes<|im_end|>\n<|im_start|>user\nand<|im_end|>\n<|im_start|>assistant\nno<|im_end|>"),
        (INSTRUCT,
         "<s>[INST] <|slide|>[R1]<|facts|>f\n\nwhy [/INST] yes</s><s>[INST] and [/INST] no</s>"),
        (WORDS,
         "SYSTEM: <|slide|>[R1]<|facts|>f\nUSER: why\nASSISTANT: yes<|end|>\nUSER: and\n"
         "ASSISTANT: no<|end|>"),
        ("",
         "<s><|slide|>[R1]<|facts|>f<|user|>why<|assistant|>yes<|end|><|user|>and<|assistant|>no"
         "<|end|>"),
    ],
    ids=["folded", "instruct", "words", "none"],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_templates_become_forms(tmp_path, kind, template, expected):
    folder = hub_tokenizer(tmp_path, kind, template)
    processor = RuiChatProcessor.for_language_model(folder, NUM_BASE)
    encoded = processor.dialogue([Turn("why", "yes"), Turn("and", "no")], 1, "f")
    assert processor.show(encoded.input_ids) == expected


def test_a_template_in_its_own_file_comes_first(tmp_path):
    folder = hub_tokenizer(tmp_path, template="{{ nonsense }}")
    (folder / "chat_template.jinja").write_text(CHATML)
    form = RuiChatProcessor.for_language_model(folder, NUM_BASE).form
    assert form.assistant == "<|im_end|>\n<|im_start|>assistant\n"


def test_what_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(ModelError, match="order"):
        RuiChatProcessor.for_language_model(hub_tokenizer(tmp_path, template=DROPPING), NUM_BASE)
    hub_tokenizer(tmp_path)
    with pytest.raises(ArtifactError, match="the language model 5"):
        RuiChatProcessor.for_language_model(tmp_path, 5)
    path = tmp_path / "tokenizer.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"decoder": {"type": "WordPiece"}}))
    with pytest.raises(ModelError, match="WordPiece"):
        RuiChatProcessor.for_language_model(tmp_path, NUM_BASE)
    path.write_text("{")
    with pytest.raises(ArtifactError, match="not a tokenizer"):
        RuiChatProcessor.for_language_model(tmp_path, NUM_BASE)
    path.unlink()
    with pytest.raises(ArtifactError, match="no tokenizer"):
        RuiChatProcessor.for_language_model(tmp_path, NUM_BASE)
