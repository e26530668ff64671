"""The language stages on tiny models: what each trains, what it leaves, and how it resumes."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import MeanColourEncoder
from fakes_chat import ScriptedModel
from fakes_model import ONE_LAYER
from peft import PeftModel
from torch import Tensor, nn

from ruichat.align.calibrate import calibrate
from ruichat.align.corpus import CorpusConfig, read_corpus
from ruichat.align.instruct import train_instruct
from ruichat.align.laid_settings import CalibrateConfig, LaidTraining
from ruichat.align.language import LanguageConfig, LanguageStage, build_model, train_language
from ruichat.align.loop import LoopConfig
from ruichat.align.projector import ProjectorConfig, region_loss, train_projector
from ruichat.align.stages.config import AlignConfig
from ruichat.align.think.config import DialogueThinkConfig
from ruichat.align.think.rules import ReinforceConfig
from ruichat.align.tile_classifier import ClassifierConfig, fit_classifier
from ruichat.chat.calibration import MIN_RECORDS, AnswerSignal, load_calibration
from ruichat.config import Config
from ruichat.errors import ConfigError
from ruichat.features.foreign.given import BagReading
from ruichat.model.processing import RuiChatProcessor
from ruichat.truth.bags import BagMaker
from ruichat.truth.bank import TileBank
from ruichat.truth.dialogues import QA, write_dialogue
from ruichat.truth.symbolic import SymbolicConfig

LOOP = LoopConfig(steps=4, learning_rate=1e-2, log_every=1, checkpoint_every=2)
LANGUAGE = LanguageConfig(
    text_model=ONE_LAYER,
    dialogues_per_step=2,
    row_tokens=200,
    texts_per_step=1,
    text_tokens=40,
    loop=LOOP.model_copy(update={"optimiser": "muon"}),
    symbolic=SymbolicConfig(max_regions=4),
)
PROJECTOR = ProjectorConfig(slides_per_step=2, row_tokens=200, loop=LOOP)
INSTRUCT = LaidTraining(slides_per_step=2, row_tokens=200, rank=2, alpha=4, loop=LOOP)

State = dict[str, Tensor]


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (LaidTraining, {"loop": {"steps": 3, "learning_rate": 1, "workers": 2}}, "workers is 2"),
        (ProjectorConfig, {"loop": {"steps": 3, "learning_rate": 1, "workers": 1}}, "allowed here"),
        (LanguageConfig, {"loop": {"steps": 3, "learning_rate": 1, "workers": 1}}, "allowed here"),
        (LaidTraining, {"rank": 0}, "rank: Input should be greater than 0"),
        (LaidTraining, {"slides_per_step": 0}, "slides_per_step"),
        (LaidTraining, {"row_tokens": 0}, "row_tokens"),
        (CalibrateConfig, {"num_slides": 0}, "num_slides"),
        (LaidTraining, {"seed": -1}, "seed: Input should be greater than or equal to 0"),
        (DialogueThinkConfig, {"seed": -1}, "seed: Input should be"),
        (ReinforceConfig, {"seed": -1}, "seed: Input should be"),
        (LoopConfig, {"weight_decay": -0.1}, "weight_decay: Input should be"),
        (LoopConfig, {"weight_decay": math.nan}, "weight_decay: Input should be a finite number"),
        (LoopConfig, {"learning_rate": math.inf}, "learning_rate: Input should be a finite"),
        (AlignConfig, {"contrastive": math.inf}, "contrastive: Input should be a finite"),
        (BagReading, {"mpp": math.inf}, "mpp: Input should be a finite"),
    ],
)
def test_settings_that_nothing_trains_with_are_refused(
    kind: type[Config], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        kind.checked(values, source="the test")


def state_of(module: nn.Module) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: State, after: State) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


class Stop:
    """A log that ends the run when a line begins so."""

    def __init__(self, at: str) -> None:
        self.at = at

    def __call__(self, line: str) -> None:
        if line.startswith(self.at):
            raise KeyboardInterrupt


def resume(train: Callable[[Callable[[str], None]], nn.Module], name: str) -> State:
    """Interrupt a stage after its third step, so that it goes on from its second."""
    with pytest.raises(KeyboardInterrupt):
        train(Stop(f"{name} step 3/4"))
    lines: list[str] = []
    state = state_of(train(lines.append))
    assert lines[0] == f"{name}: going on from step 2"
    assert len(lines) == 3
    return state


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose manifest lists nothing."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "MANIFEST.tsv").write_text("item\tweights\n")
    return folder


@pytest.fixture(scope="module", autouse=True)
def short_corpus() -> Iterator[None]:
    """A hundredth of our own text: writing all of it takes longer than the training here."""
    short = functools.partial(read_corpus, config=CorpusConfig(num_written=60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ruichat.align.language.read_corpus", short)
        yield


@pytest.fixture(scope="module")
def language(
    processor: RuiChatProcessor, data_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> LanguageStage:
    return train_language(LANGUAGE, processor, data_root, tmp_path_factory.mktemp("out"), quiet)


@pytest.fixture(scope="module")
def aligned(
    language: LanguageStage,
    processor: RuiChatProcessor,
    bags: BagMaker,
    tmp_path_factory: pytest.TempPathFactory,
) -> LanguageStage:
    """The language stage's model with its region encoder trained."""
    stage = copy.deepcopy(language)
    train_projector(PROJECTOR, stage, processor, bags, tmp_path_factory.mktemp("out"), quiet)
    return stage


def quiet(_: str) -> None:
    pass


# Language


def test_language_trains_words_pointer_and_symbols(
    language: LanguageStage, processor: RuiChatProcessor
) -> None:
    moved = changed(state_of(build_model(LANGUAGE, processor)), state_of(language))
    assert not any("region_encoder" in name for name in moved)
    for part in ("embed_tokens", "layers.0.mlp", "layers.0.self_attn", "pointer.key", "symbols"):
        assert any(part in name for name in moved), part
    assert not language.training


def test_language_resumes_where_it_stopped(
    language: LanguageStage, processor: RuiChatProcessor, data_root: Path, tmp_path: Path
) -> None:
    resumed = resume(
        lambda log: train_language(LANGUAGE, processor, data_root, tmp_path, log), "language"
    )
    assert changed(state_of(language), resumed) == set()


def test_language_model_has_the_configured_shape(processor: RuiChatProcessor) -> None:
    config = build_model(LANGUAGE, processor).model.config
    assert config.text_config.vocab_size == processor.vocab_size
    assert {key: getattr(config.text_config, key) for key in ONE_LAYER} == ONE_LAYER


# Projector


def test_projector_trains_the_region_encoder_alone(
    language: LanguageStage, aligned: LanguageStage
) -> None:
    moved = changed(state_of(language), state_of(aligned))
    assert all(name.startswith("model.region_encoder.") for name in moved)
    assert any("region_encoder.projector" in name for name in moved)
    assert any("region_encoder.gate" in name for name in moved)


def test_projector_makes_regions_as_large_as_symbols(aligned: LanguageStage) -> None:
    assert float(aligned.model.region_encoder.scale) == pytest.approx(LANGUAGE.region_scale)


def test_projector_resumes_where_it_stopped(
    language: LanguageStage,
    aligned: LanguageStage,
    processor: RuiChatProcessor,
    bags: BagMaker,
    tmp_path: Path,
) -> None:
    def train(log: Callable[[str], None]) -> LanguageStage:
        stage = copy.deepcopy(language)
        train_projector(PROJECTOR, stage, processor, bags, tmp_path, log)
        return stage

    assert changed(state_of(aligned), resume(train, "projector")) == set()


def test_matching_brings_regions_to_their_symbols(
    language: LanguageStage, processor: RuiChatProcessor, bags: BagMaker, tmp_path: Path
) -> None:
    losses: list[float] = []

    def note(line: str) -> None:
        if " loss " in line:
            losses.append(float(line.split("loss ")[1].split()[0]))

    stage = copy.deepcopy(language)
    loop = LOOP.model_copy(update={"steps": 25})
    config = PROJECTOR.model_copy(update={"loop": loop, "matching": 100.0})
    train_projector(config, stage, processor, bags, tmp_path, note)
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])


def test_region_loss_is_the_angle_over_existing_regions() -> None:
    wanted = torch.eye(4)[None, :3]
    mask = torch.tensor([[True, True, False]])
    assert float(region_loss(3 * wanted, wanted, mask)) == pytest.approx(0, abs=1e-6)
    assert float(region_loss(wanted.roll(1, -1), wanted, mask)) == pytest.approx(1)
    found = wanted.clone()
    found[0, 1] = -found[0, 1]
    found[0, 2] = -found[0, 2]
    assert float(region_loss(found, wanted, mask)) == pytest.approx(1)


# Instruct


def instruct(
    aligned: LanguageStage,
    processor: RuiChatProcessor,
    bags: BagMaker,
    out: Path,
    log: Callable[[str], None] = quiet,
) -> PeftModel:
    return train_instruct(INSTRUCT, copy.deepcopy(aligned.model), processor, bags, out, log)


@pytest.fixture(scope="module")
def instructed(
    aligned: LanguageStage,
    processor: RuiChatProcessor,
    bags: BagMaker,
    tmp_path_factory: pytest.TempPathFactory,
) -> PeftModel:
    return instruct(aligned, processor, bags, tmp_path_factory.mktemp("out"))


def test_instruct_leaves_the_base_as_it_came(aligned: LanguageStage, instructed: PeftModel) -> None:
    kept: State = {}
    for name, value in instructed.get_base_model().state_dict().items():
        if "lora_" not in name and "modules_to_save" not in name:
            kept[name.replace(".base_layer", "").replace(".original_module", "")] = value
    assert changed(state_of(aligned.model), kept) == set()


def test_instruct_trains_adapter_region_encoder_and_pointer(
    aligned: LanguageStage, instructed: PeftModel
) -> None:
    before = aligned.model.state_dict()
    trained = {name for name, p in instructed.named_parameters() if p.requires_grad}
    assert trained == {
        name
        for name, _ in instructed.named_parameters()
        if "lora_" in name or "modules_to_save" in name
    }
    parameters = dict(instructed.named_parameters())
    for name in trained:
        if "lora_B" in name:
            assert bool(parameters[name].any()), name
    for part in ("region_encoder", "pointer"):
        copies = {
            name.split("modules_to_save.default.")[1]: value
            for name, value in instructed.state_dict().items()
            if f".{part}.modules_to_save.default." in name
        }
        moved = [n for n, v in copies.items() if not torch.equal(v, before[f"{part}.{n}"])]
        assert len(moved) > len(copies) / 2, part


def test_instruct_adapts_every_matrix_of_the_decoder(
    aligned: LanguageStage, instructed: PeftModel
) -> None:
    layers = aligned.model.language_model.layers.named_modules(prefix="layers")
    matrices = {name for name, module in layers if isinstance(module, nn.Linear)}
    adapted = {
        name.split(".language_model.")[1].split(".lora_A")[0]
        for name in instructed.state_dict()
        if "lora_A" in name
    }
    assert adapted == matrices
    kinds = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name.rsplit(".", 1)[1] for name in adapted} == kinds


def test_instruct_resumes_where_it_stopped(
    aligned: LanguageStage,
    instructed: PeftModel,
    processor: RuiChatProcessor,
    bags: BagMaker,
    tmp_path: Path,
) -> None:
    resumed = resume(lambda log: instruct(aligned, processor, bags, tmp_path, log), "instruct")
    assert changed(state_of(instructed), resumed) == set()


# Calibrate


@pytest.mark.parametrize("honest", [True, False])
def test_calibration_learns_how_often_answers_were_right(
    bank: TileBank,
    held_out_bags: BagMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    honest: bool,
) -> None:
    """One model knows every answer, another says yes to everything; both sound equally sure."""
    answers: dict[str, str] = {}

    def remember(*args: Any, **kwargs: Any) -> list[QA]:
        turns = write_dialogue(*args, **kwargs)
        answers.update({qa.question: qa.answer for qa in turns})
        return turns

    monkeypatch.setattr("ruichat.align.calibrate.write_dialogue", remember)
    model = ScriptedModel(lambda q: answers[q] if honest else "Yes.", math.log(0.99))
    encoder = MeanColourEncoder()
    classifier = fit_classifier(bank, ClassifierConfig(steps=60), encoder.digest)
    config = CalibrateConfig(num_slides=40, turns=4)
    # One of both is calibrated thinking: that is kept apart.
    found = calibrate(config, model, classifier, encoder, held_out_bags, tmp_path, thinking=honest)
    assert load_calibration(tmp_path, thinking=honest) == found
    assert load_calibration(tmp_path, thinking=not honest) is None
    assert {think for session in model.sessions for think in session.thinks} == {honest}
    assert len(model.opened) == config.num_slides
    assert found.default.num_records >= MIN_RECORDS
    assert 0 < found.known_fraction <= 1
    sure = AnswerSignal(decision=0.99, wording=0.99, pointing=1.0, support=0.5)
    assert (found.confidence("presence", sure) > 0.9) == honest
