"""Dialogues and bags become batches that the seed and the step decide, or errors before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes_align import DIM, write_bags, write_dialogues
from fakes_bags import drawn_bag
from fakes_model import tiny_model
from foreign_files import trident
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.align.data.batch import encode_batch, words_loss
from ruichat.align.data.dialogues import FiledDialogues
from ruichat.align.data.packing import STEP, BatchConfig, Budget, Packed, pack
from ruichat.align.data.slides import Reader, facts_of
from ruichat.align.dialogue_batches import DialogueBatches
from ruichat.align.loop import MicroBatch
from ruichat.errors import ArtifactError, ConfigError, InputError
from ruichat.features.bag import FeatureBag
from ruichat.features.foreign.given import BagReading
from ruichat.histology import KEYS
from ruichat.model.processing import IGNORED, RuiChatProcessor
from ruichat.model.regions import split_regions
from ruichat.truth.datasets.bags import Bags
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.laying import lay, most_regions, names_regions
from ruichat.truth.datasets.store import DialogueFile

BUDGET = Budget(tokens=600, tiles=40, window=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("align")
    write_bags(folder / "bags")
    write_dialogues(folder / "dialogues.jsonl")
    return folder


def batches(
    folder: Path, processor: RuiChatProcessor, name: str = "dialogues.jsonl", **changes: Any
) -> DialogueBatches:
    options: dict[str, Any] = {
        "config": BatchConfig(budget=BUDGET, micro_batches=2, epochs=2),
        "seed": 1,
        "max_regions": 8,
        "max_positions": 512,
        "reader": Reader("mini"),
    }
    options |= changes
    config = options.pop("config")
    dialogues = FiledDialogues(
        [DialogueFile(folder / name)],
        Bags([folder / "bags"]),
        options.pop("reader"),
        max_regions=options.pop("max_regions"),
        facts=config.facts,
    )
    return DialogueBatches(dialogues, processor, config, log=lambda line: None, **options)


def made(all_of_it: DialogueBatches, step: int) -> list[MicroBatch[Any]]:
    return [make() for make in all_of_it.micro_batches(step)]


# Packing

sizes = st.lists(st.tuples(st.integers(1, 200), st.integers(1, 50)), min_size=1, max_size=60)


def rows_of(packed: Packed, tokens: Any) -> Any:
    """Text tokens of each row."""
    return np.bincount(packed.row, tokens[packed.dialogues])


def padded(packed: Packed, tokens: Any) -> int:
    length = rows_of(packed, tokens)
    return len(length) * int(-(-length.max() // STEP) * STEP)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(0, 3), st.integers(1, 20), st.sampled_from([0, 208, 213, 600, 624]))
def test_every_dialogue_is_in_one_micro_batch_within_the_budget(
    rows: list[tuple[int, int]], epoch: int, window: int, row_tokens: int
) -> None:
    tokens, tiles = np.array(rows).T
    budget = Budget(tokens=624, tiles=50, window=window, row_tokens=row_tokens)
    found = pack(tokens, tiles, budget, (0, epoch))
    together = np.concatenate([packed.dialogues for packed in found])
    assert sorted(together.tolist()) == list(range(len(rows)))
    for packed in found:
        length = rows_of(packed, tokens)
        assert length.min() > 0 and length.max() <= budget.longest
        assert padded(packed, tokens) <= budget.tokens
        assert tiles[packed.dialogues].sum() <= budget.tiles
        assert row_tokens or sorted(packed.row) == list(range(len(packed.dialogues)))
        assert row_tokens < 624 or len(length) == 1, "flash attention reads one row"
    for one, again in zip(found, pack(tokens, tiles, budget, (0, epoch)), strict=True):
        assert one.dialogues.tolist() == again.dialogues.tolist()
        assert one.row.tolist() == again.row.tolist()


@pytest.mark.parametrize(("row_tokens", "filled"), [(0, 0.9), (2048, 0.97)])
def test_little_is_padded(row_tokens: int, filled: float) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(20, 1000, 2000)
    budget = Budget(tokens=8192, row_tokens=row_tokens)
    found = pack(tokens, np.ones_like(tokens), budget, (0, 0))
    assert tokens.sum() / sum(padded(packed, tokens) for packed in found) > filled


@pytest.mark.parametrize("row_tokens", [15, 601])
def test_rows_that_no_micro_batch_holds_are_refused(row_tokens: int) -> None:
    with pytest.raises(ConfigError, match=f"row_tokens is {row_tokens}; allowed: 0, or 16 to"):
        Budget.checked({"tokens": 600, "row_tokens": row_tokens}, source="test")


# Laying


def dialogue(**values: Any) -> Dialogue:
    turns = [{"role": "user", "text": "What?"}, {"role": "assistant", "text": "Mucus."}]
    return Dialogue.model_validate({"id": "d", "slides": ["a"], "turns": turns} | values)


def test_a_slide_is_cut_as_in_answering() -> None:
    bag = drawn_bag(30, 6)
    laid = lay(dialogue(), [bag], 8)
    regions = split_regions(bag.xy0, bag.span0, bag.base_mpp, bag.size0, max_regions=8)
    np.testing.assert_array_equal(laid.region, regions.assignment)
    np.testing.assert_array_equal(laid.geometry, regions.geometry)
    assert lay(dialogue(num_regions=3), [bag], 8).num_regions == 3


def test_own_boxes_come_first_and_hide_nothing() -> None:
    bag = drawn_bag(30, 6)
    low, high = bag.xy0.min(axis=0), bag.xy0.max(axis=0)
    middle = int((low[0] + high[0]) // 2)
    box = {"x": 0, "y": 0, "width": middle, "height": int(high[1] + bag.span0)}
    laid = lay(dialogue(regions=[box]), [bag], 8)
    inside = bag.xy0[:, 0] + bag.span0 // 2 < middle
    assert 0 < inside.sum() < 30
    np.testing.assert_array_equal(laid.embeddings[laid.region == 0], bag.embeddings[inside])
    assert len(laid.embeddings) == len(bag) and laid.num_regions == 8


def test_a_box_without_tiles_is_refused() -> None:
    box = {"x": 0, "y": 0, "width": 5, "height": 5}
    with pytest.raises(InputError, match="R1 holds the centre of no tile"):
        lay(dialogue(regions=[box]), [drawn_bag(30, 6)], 8)


def test_slides_of_a_case_share_the_names() -> None:
    bags = [drawn_bag(40, 6), drawn_bag(10, 6, seed=1)]
    case = dialogue(slides=["a", "b"])
    laid = lay(case, bags, 8)
    assert laid.num_regions == 7 and len(laid.embeddings) == 50
    assert laid.region[:40].max() < laid.region[40:].min()
    assert most_regions(case, [40, 10], 8) >= 7
    for refused in (lambda: lay(case, bags, 1), lambda: most_regions(case, [40, 10], 1)):
        with pytest.raises(InputError, match="2 slides"):
            refused()


def test_a_dialogue_that_names_no_region_is_told() -> None:
    box = {"x": 0, "y": 0, "width": 5, "height": 5}
    asked = {"role": "user", "text": "Is there tumour?"}
    said = {"role": "assistant", "text": "Yes."}
    thought = said | {"thought": "Glands [R2]."}
    assert not names_regions(dialogue(turns=[asked, said]))
    assert names_regions(dialogue(turns=[asked, said], regions=[box]))
    assert names_regions(dialogue(turns=[asked, said | {"text": "Yes [R1]."}], num_regions=4))
    assert names_regions(dialogue(turns=[asked, thought], num_regions=4))


# Batches


def test_an_epoch_shows_every_dialogue_once(folder: Path, processor: RuiChatProcessor) -> None:
    found = batches(folder, processor)
    seen = Counter[str]()
    for step in range(found.steps):
        for part in made(found, step):
            seen.update(part.records)
    assert set(seen) == {f"dialogues.jsonl dialogue {i}" for i in range(1, 13)}
    # What a last step lacks comes from the first epoch again.
    assert min(seen.values()) == 2 and max(seen.values()) <= 3


@pytest.mark.parametrize("row_tokens", [0, 300])
def test_a_step_is_the_same_whoever_makes_it(
    folder: Path, processor: RuiChatProcessor, row_tokens: int
) -> None:
    budget = Budget(tokens=600, tiles=40, window=8, row_tokens=row_tokens)
    config = BatchConfig(budget=budget, micro_batches=2, epochs=2)
    one, two = (batches(folder, processor, config=config) for _ in range(2))
    two.micro_batches(0)[1]()
    for a, b in zip(made(one, 2), made(two, 2), strict=True):
        assert a.records == b.records
        for name in a.content.__slots__:
            left, right = getattr(a.content, name), getattr(b.content, name)
            assert left is right is None or torch.equal(left, right), name
    other = batches(folder, processor, seed=2)
    assert [p.records for p in made(one, 0)] != [p.records for p in made(other, 0)]


def test_a_row_reads_as_serving_does(folder: Path, processor: RuiChatProcessor) -> None:
    part = made(batches(folder, processor), 0)[0]
    row = dict(zip(part.records, range(len(part.records)), strict=True))
    name, number = next(iter(row.items()))
    line = int(name.rsplit(" ", 1)[1]) - 1
    dialogue = DialogueFile(folder / "dialogues.jsonl")[line]
    bag = Bags([folder / "bags"]).of(dialogue)[0]
    read = Reader("mini").read(bag)
    prefix = processor.prefix_ids(4, facts_of(read, None, 4))
    ids = part.content.input_ids[number].tolist()
    assert ids[: len(prefix)] == prefix
    assert processor.decode(prefix).endswith("composition unknown")
    labels = part.content.labels[number]
    said = [int(i) for i in labels if i != IGNORED]
    assert said[: len(processor.answer_ids(dialogue.turns[1].text))] == processor.answer_ids(
        dialogue.turns[1].text
    )
    assert part.num_targets == int((part.content.labels[:, 1:] != IGNORED).sum())


def test_joined_slides_give_the_regions_of_each(folder: Path, processor: RuiChatProcessor) -> None:
    """Tiles one after the other, without padding, are the same to the model as padded bags."""
    model = tiny_model(processor.vocab_size, text={"max_position_embeddings": 512})
    model = tiny_model_of(model, DIM)
    batch = next(p.content for p in made(batches(folder, processor), 0) if len(p.records) > 1)
    with torch.no_grad():
        found = encode_batch(model, batch)
        k = batch.region_mask.shape[1]
        for row in range(len(batch.input_ids)):
            own = batch.segment // k == row
            alone = model.encode_regions(
                batch.tiles[own][None],
                batch.segment[own][None] - row * k,
                batch.region_geometry[row][None],
            )
            torch.testing.assert_close(found[row], alone[0])
        total = words_loss(model, batch, found)
    assert total > 0


def tiny_model_of(model: Any, dim: int) -> Any:
    config = model.config
    config.bag_dim = dim
    return type(model)(config).eval()


def test_shared_rows_teach_what_rows_of_their_own_do(
    folder: Path, processor: RuiChatProcessor
) -> None:
    model = tiny_model(
        processor.vocab_size, text={"max_position_embeddings": 512}, inject_layers=(1,)
    )
    model = tiny_model_of(model, DIM)
    with torch.no_grad():
        model.region_encoder.injected[0].gate.fill_(0.5)
    found: list[tuple[float, int, dict[str, torch.Tensor]]] = []
    for row_tokens in (0, 300):
        budget = Budget(tokens=600, tiles=60, window=8, row_tokens=row_tokens)
        every = batches(folder, processor, config=BatchConfig(budget=budget, micro_batches=1))
        parts = [made(every, step)[0].content for step in range(every.steps)]
        assert not row_tokens or max(len(p.said) / len(p.input_ids) for p in parts) >= 2
        loss = sum(words_loss(model, part, encode_batch(model, part)) for part in parts)
        model.zero_grad()
        loss.backward()
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        found.append((loss.item(), sum(p.input_ids.numel() for p in parts), grads))
    (alone, wide, own), (together, narrow, shared) = found
    assert together == pytest.approx(alone, rel=1e-5) and narrow < wide
    assert own.keys() == shared.keys() and any("injected" in name for name in own)
    for name, value in own.items():
        assert (shared[name] - value).abs().max() <= 1e-5 * value.abs().max(), name


# Bad input, before the first step


def test_a_bag_of_another_encoder_is_refused(
    folder: Path, processor: RuiChatProcessor, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=r"dialogues.jsonl dialogue 1: .*'mini' \(d=384") as e:
        batches(folder, processor, reader=Reader("uni2-h"))
    assert "Extract the slide with encoder uni2-h" in e.value.hint
    with pytest.raises(ArtifactError, match="weights eeeeeeee"):
        batches(folder, processor, reader=Reader("mini", digest="d" * 64))
    batches(folder, processor, reader=Reader("mini", digest="e" * 64))


def test_bags_of_other_tools_are_read(processor: RuiChatProcessor, tmp_path: Path) -> None:
    (tmp_path / "bags").mkdir()
    trident(tmp_path / "bags" / "slide0.h5", encoder="uni_v2", dim=1536)
    write_dialogues(tmp_path / "d.jsonl", 3, num_slides=1)
    found = batches(
        tmp_path, processor, "d.jsonl", reader=Reader("uni2-h", reading=BagReading(mpp=0.25))
    )
    part = made(found, 0)[0]
    assert part.content.tiles.shape[1] == 1536
    assert "tiles" not in processor.decode(part.content.input_ids[0].tolist())
    with pytest.raises(ConfigError, match="dialogue 1"):
        batches(
            tmp_path, processor, "d.jsonl", reader=Reader("virchow2", reading=BagReading(mpp=0.25))
        )


class KnowsTwoTiles:
    """Two tiles of a slide are of a kind that it has seen."""

    def class_probabilities(self, embeddings: Any) -> Any:
        return np.full((len(embeddings), len(KEYS)), 1 / len(KEYS), np.float32)

    def known_score(self, embeddings: Any) -> Any:
        return (np.arange(len(embeddings)) < 2).astype(np.float32)


def test_a_region_of_tiles_that_arent_shown_is_told_first(
    folder: Path, processor: RuiChatProcessor
) -> None:
    """Two tiles make two regions."""
    turns = [{"role": "user", "text": "Where?"}, {"role": "assistant", "text": "Here [R3]."}]
    write_dialogues(folder / "cites.jsonl", 1, turns=turns)
    with pytest.raises(InputError, match=r"dialogue 1: it cites \[R3\]; .* into R1 to R2"):
        batches(folder, processor, "cites.jsonl", reader=Reader("mini", classifier=KnowsTwoTiles()))


def test_the_way_that_bags_were_made_is_known(folder: Path, processor: RuiChatProcessor) -> None:
    before = batches(folder, processor).bags_digest
    assert batches(folder, processor).bags_digest == before
    path = folder / "bags" / "slide0.h5"
    bag = FeatureBag.load(path)
    replace(bag, fingerprint="another mpp").save(path)
    assert batches(folder, processor).bags_digest != before
    bag.save(path)


def test_dialogues_about_one_slide_know_of_each_other(
    folder: Path, processor: RuiChatProcessor
) -> None:
    found = batches(folder, processor)
    twins = 0
    for part in (part for step in range(found.steps) for part in made(found, step)):
        lines = [int(name.rsplit(" ", 1)[1]) for name in part.records]
        slide = torch.tensor([(line - 1) % 4 for line in lines])
        about = part.content.about
        assert torch.equal(about[:, None] == about, slide[:, None] == slide)
        twins += len(slide) - len(slide.unique())
    assert twins


def spoilt(values: dict[str, Any]) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        write_dialogues(folder / "spoilt.jsonl", 2, **values)
        return "spoilt.jsonl"

    return write


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        ({"slides": ["nowhere"]}, {}, "spoilt.jsonl dialogue 1: no bag of slide 'nowhere'"),
        ({"slides": [], "num_regions": None, "tiles": ["a.png"]}, {}, "about single pictures"),
        ({}, {"max_positions": 30}, r"dialogue 1: it has \d+ text tokens; allowed: 30"),
        ({}, {"config": BatchConfig(budget=Budget(tiles=8))}, "it has 9 tiles; allowed: 8"),
        ({}, {"config": BatchConfig(budget=Budget(tokens=32))}, "text tokens; allowed: 32"),
        ({}, {"config": BatchConfig(budget=Budget(row_tokens=40))}, "text tokens; allowed: 32"),
    ],
)
def test_what_cannot_be_trained_on_is_told_first(
    folder: Path, processor: RuiChatProcessor, values: Any, changes: Any, message: str
) -> None:
    turns = [
        {"role": "user", "text": "Is there tumour on this slide, and where?"},
        {"role": "assistant", "text": "No."},
    ]
    name = spoilt({"turns": turns} | values)(folder)
    with pytest.raises(InputError, match=message) as error:
        batches(folder, processor, name, **changes)
    assert error.value.hint


def test_a_citation_beyond_the_tiles_is_told(folder: Path, processor: RuiChatProcessor) -> None:
    turns = [
        {"role": "user", "text": "Where?"},
        {"role": "assistant", "text": "There [R12]."},
    ]
    write_dialogues(folder / "cites.jsonl", 1, num_regions=12, turns=turns)
    with pytest.raises(InputError, match=r"cites.jsonl dialogue 1: it cites \[R12\]"):
        made(batches(folder, processor, "cites.jsonl"), 0)


def test_threads_read_the_lines_they_ask_for(tmp_path: Path) -> None:
    data = DialogueFile(write_dialogues(tmp_path / "d.jsonl", num=40))
    rows = [i % 40 for i in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        assert [d.id for d in pool.map(data.__getitem__, rows)] == [f"d{i}" for i in rows]
