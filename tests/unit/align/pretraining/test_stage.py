"""Both stages from tiles to an encoder that works; kills leave no trace; parts add up."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from ruichat.align.loop import MicroBatch
from ruichat.align.pretraining import stage
from ruichat.align.pretraining.backbone import Source, first_backbone, frozen_encoder
from ruichat.align.pretraining.network import Following, Network, Student
from ruichat.align.pretraining.objective import Batch, Objective
from ruichat.align.pretraining.reading import open_tiles
from ruichat.align.pretraining.schedules import MomentumConfig, RiseConfig
from ruichat.align.pretraining.settings import DistillConfig, EncoderChoice, PretrainConfig
from ruichat.align.pretraining.stage import (
    micro_batches,
    rate_groups,
    result_card,
    train_tile_encoder,
)
from ruichat.align.training.processes import Processes
from ruichat.cli.main import app
from ruichat.errors import ConfigError
from ruichat.features.encoder import load_encoder
from ruichat.features.encoders.folder import FolderCard
from ruichat.features.encoders.saving import save_encoder
from ruichat.features.encoders.vit import build
from ruichat.features.runtime.ways import RunConfig

PLAIN = RunConfig(runtime="torch", precision="fp32")
SHAPE = {"body": "dinov3", "width": 16, "depth": 2, "heads": 2, "patch_px": 8, "registers": 2}
HEAD = {"weight": 1, "head": {"prototypes": 16, "hidden": 16, "bottleneck": 8}}
RESULT = {"name": "ours", "license": "CC0-1.0", "tile_mpp": 0.5}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    for i in range(12):
        coarse = rng.integers(60, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((48, 48)).save(folder / f"{i}.png")
    return folder


def settings(tiles: Path, kind: type[PretrainConfig] = PretrainConfig, **changes: Any) -> Any:
    fields = {
        "tiles": changes.pop("tiles_are", [{"kind": "folder", "path": str(tiles)}]),
        "batch": 8,
        "micro_batch": 4,
        "backbone": {"shape": SHAPE, "layer_scale": 0.1, "drop_path": 0.1},
        "crops": {"global_px": 32, "local_px": 16, "num_local": 2},
        "dino": HEAD,
        "ibot": HEAD,
        "loop": {"steps": 6, "learning_rate": 1e-3, "log_every": 2, "checkpoint_every": 2},
        "result": RESULT,
    }
    return kind.checked({**fields, **changes}, source="the test")


def frozen_folder(folder: Path, name: str, **shape: Any) -> Path:
    """An encoder with random weights and a card of its own."""
    torch.manual_seed(len(name))
    full = {"body": "dinov2", "width": 12, "depth": 1, "heads": 2, "patch_px": 14, **shape}
    card = FolderCard.checked(
        {
            **RESULT,
            "name": name,
            "dim": full["width"],
            "tile_px": 28,
            "mean": (0.6, 0.5, 0.6),
            "architecture": full,
        },
        source="the test",
    )
    module = build(**card.architecture.model_dump(), image_px=28)
    return save_encoder(folder / name, module, card)


def distilling(tiles: Path, folder: Path, **changes: Any) -> Any:
    teachers = [
        {"encoder": str(frozen_folder(folder, "one"))},
        {"encoder": str(frozen_folder(folder, "other", width=20, registers=1, body="dinov2"))},
    ]
    return settings(tiles, DistillConfig, teachers=teachers, **changes)


def quiet(_: str) -> None:
    pass


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors") | load_file(folder / "heads.safetensors")


def embeddings(folder: Path) -> np.ndarray:
    batch = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    return load_encoder(str(folder), run=PLAIN).encode(batch)


def test_pretraining_ends_with_an_encoder(tiles: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    config = settings(tiles, gram={"weight": 0.5, "from_step": 2, "refresh_every": 2})
    folder = train_tile_encoder(config, Path(), tmp_path / "run", lines.append)
    assert embeddings(folder).shape == (3, 16)
    terms = [line for line in lines if line.startswith("  ")]
    assert [line.count("gram") for line in terms] == [0, 1, 1]
    assert all(f"{name} " in terms[-1] for name in ("dino", "ibot", "koleo"))
    again = train_tile_encoder(config, Path(), tmp_path / "run", quiet)
    assert np.array_equal(embeddings(again), embeddings(folder))


def test_distillation_ends_with_an_encoder(tiles: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    folder = train_tile_encoder(distilling(tiles, tmp_path), Path(), tmp_path / "run", lines.append)
    assert embeddings(folder).shape == (3, 16)
    assert any("smeka" in line for line in lines)


def test_pure_distillation_needs_no_heads(tiles: Path, tmp_path: Path) -> None:
    none = {"weight": 0}
    config = distilling(tiles, tmp_path, dino=none, ibot=none, koleo=none)
    lines: list[str] = []
    folder = train_tile_encoder(config, Path(), tmp_path / "run", lines.append)
    assert [line.split()[0] for line in lines if line.startswith("  ")] == ["smeka"] * 3
    assert embeddings(folder).shape == (3, 16)


@pytest.mark.parametrize("kind", [PretrainConfig, DistillConfig])
def test_half_precision_keeps_the_losses(
    tiles: Path, tmp_path: Path, kind: type[PretrainConfig]
) -> None:
    """Networks run in bf16; what the losses subtract stays as it is."""
    found: list[float] = []
    for precision in ("fp32", "bf16"):
        loop = {"steps": 6, "learning_rate": 1e-3, "precision": precision}
        changes = {"loop": loop, "gram": {}, "backbone": {"shape": SHAPE, "layer_scale": 1.0}}
        if kind is DistillConfig:
            config = distilling(tiles, tmp_path, **changes)
            frozen = [frozen_encoder(choice) for choice in config.teachers]
        else:
            config, frozen = settings(tiles, **changes), []
        _, objective, _ = parts_of(config, frozen)
        objective._following.settle_anchor(1, from_step=0, refresh_every=0, max_refreshes=0)
        part = objective.aim(0, made(config))[0].content
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            found.append(float(objective.loss(part).detach()))
    assert found[1] == pytest.approx(found[0], rel=0.02)


class Killed(BaseException):
    """What no code expects."""


@pytest.mark.parametrize("kind", ["pretrain", "distill", "centre"])
def test_a_killed_run_ends_as_an_unbroken_one(
    tiles: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "distill":
        config = distilling(tiles, tmp_path)
    elif kind == "centre":
        config = settings(tiles, teacher={"balancing": "centre"})
    else:
        config = settings(tiles, gram={"from_step": 1, "refresh_every": 2, "max_refreshes": 1})
    unbroken = train_tile_encoder(config, Path(), tmp_path / "unbroken", quiet)
    cut = stage.cut_crops
    with monkeypatch.context() as patch:
        calls = iter(range(100))

        def killed(*args: Any, **named: Any) -> Any:
            if next(calls) == 7:  # in the fourth step; the state is of the second
                raise Killed
            return cut(*args, **named)

        patch.setattr(stage, "cut_crops", killed)
        with pytest.raises(Killed):
            train_tile_encoder(config, Path(), tmp_path / "broken", quiet)
    resumed = train_tile_encoder(config, Path(), tmp_path / "broken", quiet)
    for name, value in weights(unbroken).items():
        assert torch.equal(weights(resumed)[name], value), name


def test_a_folder_of_other_settings_is_refused(tiles: Path, tmp_path: Path) -> None:
    train_tile_encoder(settings(tiles), Path(), tmp_path / "run", quiet)
    with pytest.raises(ConfigError, match="other settings"):
        train_tile_encoder(settings(tiles, hold_prototypes=0.5), Path(), tmp_path / "run", quiet)


def test_other_tiles_need_another_folder(tmp_path: Path) -> None:
    """Also as many others."""
    folder = tmp_path / "tiles"
    folder.mkdir()
    for i in range(8):
        Image.fromarray(np.full((48, 48, 3), 20 * i, np.uint8)).save(folder / f"{i}.png")
    loop = {"steps": 3, "learning_rate": 1e-3}
    train_tile_encoder(settings(folder, loop=loop), Path(), tmp_path / "run", quiet)
    (folder / "7.png").rename(folder / "8.png")
    with pytest.raises(ConfigError, match="other settings"):
        train_tile_encoder(settings(folder, loop=loop), Path(), tmp_path / "run", quiet)


def test_neighbours_are_looked_for_by_all_processes_at_once(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = Processes(rank=0, num=2, device=torch.device("cpu"), layout="copies")
    monkeypatch.setattr(stage, "start_processes", lambda: two)
    config = settings(tiles, batch=6, micro_batch=2, koleo={"gather": True})
    with pytest.raises(ConfigError, match=r"3 micro-batches for 2 processes, and koleo.gather"):
        train_tile_encoder(config, Path(), tmp_path / "run", quiet)


def test_a_named_anchor_waits_for_its_step(tiles: Path, tmp_path: Path) -> None:
    loop = {"steps": 3, "learning_rate": 1e-3, "log_every": 1}
    first = train_tile_encoder(settings(tiles, loop=loop), Path(), tmp_path / "first", quiet)
    lines: list[str] = []
    config = settings(
        tiles,
        gram={"teacher": {"encoder": str(first)}, "from_step": 2},
        loop=loop,
    )
    train_tile_encoder(config, Path(), tmp_path / "run", lines.append)
    assert [line.count("gram") for line in lines if line.startswith("  ")] == [0, 0, 1]


def test_an_anchor_that_was_taken_sees_pixels_as_the_teacher_does(tiles: Path) -> None:
    """Not as the encoder that was given at first."""
    config = settings(tiles, gram={})
    student, objective, source = parts_of(config, [])
    following = Following(student.network, source.module)
    other = replace(source, mean=(0.1, 0.2, 0.3))
    given = Objective(config, student, source, following, other)
    objective._following = following
    part = objective.aim(0, made(config))[0].content
    seen = student.network.tokens(source.normalise(part.wide), part.crops.masked)
    before = [float(one._anchored(part.crops, seen).detach()) for one in (objective, given)]
    assert before[0] != pytest.approx(before[1], rel=1e-3)
    following.settle_anchor(1, from_step=0, refresh_every=1, max_refreshes=1)
    after = [float(one._anchored(part.crops, seen).detach()) for one in (objective, given)]
    assert after[0] == after[1]


def parts_of(config: PretrainConfig, frozen: list[Source]) -> tuple[Student, Objective, Source]:
    source = first_backbone(config.backbone, config.crops.global_px, config.seed)
    torch.manual_seed(0)
    network = Network(source.module, source.shape.width, config)
    student = Student(network, [one.shape.width for one in frozen], source.shape.width)
    following = Following(network, None)
    with torch.no_grad():
        for value in student.parameters():
            value.add_(torch.randn_like(value) / 20)
    return student, Objective(config, student, source, following, None, frozen), source


def made(config: PretrainConfig, step: int = 0) -> list[MicroBatch[Batch]]:
    return [make() for make in micro_batches(open_tiles(config.tiles), config, 8, step)]


def test_a_batch_in_parts_is_balanced_as_one(tiles: Path) -> None:
    """Targets of four small micro-batches are those of the same tiles seen at once."""
    config = settings(tiles, micro_batch=2)
    _, objective, _ = parts_of(config, [])
    aimed = objective.aim(0, made(config))
    offsets = {part.content.dino.offset.sum().item() for part in aimed if part.content.dino}
    assert len(offsets) == 1
    alone = objective.aim(0, made(config)[:1])[0].content
    assert alone.dino is not None
    assert alone.dino.offset.sum().item() not in offsets


def test_teachers_get_no_gradient_and_the_student_all_of_it(tiles: Path, tmp_path: Path) -> None:
    config = distilling(tiles, tmp_path, gram={"from_step": 0}, backbone={"shape": SHAPE})
    frozen = [frozen_encoder(choice) for choice in config.teachers]
    for one in frozen:
        one.module.requires_grad_(True)
    student, objective, _ = parts_of(config, frozen)
    following = objective._following
    following.settle_anchor(1, from_step=0, refresh_every=0, max_refreshes=0)
    student.train()
    objective.loss(objective.aim(5, made(config))[0].content).backward()
    missing = [name for name, p in student.named_parameters() if p.grad is None]
    assert missing == []
    still = [following.network, following.anchor, *(one.module for one in frozen)]
    assert all(p.grad is None for module in still if module for p in module.parameters())


def test_the_student_alone_sees_the_stain_and_the_masks(tiles: Path) -> None:
    config = settings(tiles, student_stain={"sigma": 0.5, "within": 9})
    student, objective, source = parts_of(config, [])
    part = objective.aim(0, made(config))[0].content
    seen: list[tuple[torch.Tensor, torch.Tensor | None]] = []
    tokens = student.network.tokens

    def watched(pixels: torch.Tensor, masked: torch.Tensor | None = None) -> Any:
        seen.append((pixels, masked))
        return tokens(pixels, masked)

    student.network.tokens = watched  # type: ignore[method-assign]
    objective.loss(part)
    (wide, masked), (narrow, unmasked) = seen
    assert part.wide is not None
    clean = source.normalise(part.wide)
    torch.testing.assert_close(wide[:4], clean[:4])
    assert all((wide[i] - clean[i]).abs().max() > 0.01 for i in range(4, 8))
    assert masked is part.crops.masked
    assert narrow.shape == (8, 3, 16, 16)
    assert unmasked is None


def test_the_teacher_follows_by_its_momentum(tiles: Path) -> None:
    student, objective, _ = parts_of(settings(tiles), [])
    teacher = objective._following
    before = [p.clone() for p in teacher.network.parameters()]
    teacher.follow(student.network, 0.75)
    for old, own, theirs in zip(
        before, teacher.network.parameters(), student.network.parameters(), strict=True
    ):
        torch.testing.assert_close(own, 0.75 * old + 0.25 * theirs)


def test_the_student_learns_to_know_tiles_again(tiles: Path, tmp_path: Path) -> None:
    """Collapse, the easy way out, stays at the log of the number of prototypes."""
    plain = {"jitter": 0, "grey": 0, "blur": 0}
    config = settings(
        tiles,
        batch=12,
        micro_batch=12,
        loop={"steps": 72, "learning_rate": 5e-3, "log_every": 12, "checkpoint_every": 100},
        backbone={"shape": SHAPE, "layer_scale": 1.0},
        crops={
            "global_px": 32,
            "global_share": [0.6, 1],
            "local_px": 16,
            "num_local": 0,
            "first": plain,
            "second": plain,
            "turns": False,
        },
        student_stain=None,
        dino={"head": {"prototypes": 64, "hidden": 32, "bottleneck": 16}},
        ibot={"weight": 0},
        teacher={"momentum": {"first": 0.9, "last": 1.0}},
    )
    lines: list[str] = []
    train_tile_encoder(config, Path(), tmp_path / "run", lines.append)
    dino = [float(line.split()[1].rstrip(",")) for line in lines if line.startswith("  dino")]
    assert dino[-1] < np.log(64) - 0.05, dino


def test_a_second_stage_goes_on_with_weights_and_heads(tiles: Path, tmp_path: Path) -> None:
    first = train_tile_encoder(settings(tiles), Path(), tmp_path / "first", quiet)
    lines: list[str] = []
    config = settings(
        tiles,
        backbone={"start": {"encoder": str(first)}},
        gram={"teacher": {"encoder": str(first)}, "weight": 2},
        crops={"global_px": 32, "local_px": 16, "num_local": 2, "clean_px": 64},
        loop={"steps": 3, "learning_rate": 1e-9, "log_every": 1},
    )
    second = train_tile_encoder(config, Path(), tmp_path / "second", lines.append)
    assert lines[0].startswith("memory of pretrain: ")
    assert lines[1] == "heads that go on from encoder: dino, ibot"
    assert "gram" in next(line for line in lines if line.startswith("  "))
    old, new = weights(first), weights(second)
    assert old.keys() == new.keys()
    for name, value in old.items():
        torch.testing.assert_close(new[name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert float(old["embeddings.mask_token"].abs().max()) > 0


def test_rates_fall_towards_the_patches(tiles: Path) -> None:
    config = settings(tiles, layer_decay=0.5, patch_rate=0.2)
    source = first_backbone(config.backbone, 32, 0)
    rates = {group.name: group.learning_rate for group in rate_groups(config, source)}
    assert rates == {
        "patches": pytest.approx(1e-3 * 0.125 * 0.2),
        "embeddings": pytest.approx(1e-3 * 0.125),
        "block 0": pytest.approx(1e-3 * 0.25),
        "block 1": pytest.approx(1e-3 * 0.5),
    }
    names = [name for name, _ in Network(source.module, 16, config).named_parameters()]
    in_groups = [
        next((g.name for g in rate_groups(config, source) if any(p in n for p in g.parts)), "rest")
        for n in names
    ]
    assert in_groups.count("patches") == 2
    assert in_groups.count("embeddings") == 3
    assert in_groups.count("block 0") == in_groups.count("block 1") > 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 6}, "batch 6 isn't a multiple of 4"),
        ({"backbone": {}}, "give either start or shape"),
        ({"loop": {"steps": 6, "learning_rate": 1, "optimiser": "muon"}}, "must be adamw"),
        ({"teacher": {"momentum": {"first": 1}}}, "leaves the teacher where it is"),
        ({"result": {**RESULT, "name": "Ours!"}}, "result.name"),
    ],
)
def test_wrong_settings_are_refused(tiles: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(tiles, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crops": {"global_px": 32, "local_px": 15}}, "local_px 15 isn't a multiple"),
        ({"backbone": {"start": {"encoder": "mini"}}}, "'mini' isn't a vision transformer"),
        (
            {"backbone": {"shape": {**SHAPE, "body": "vit", "registers": 0}, "drop_path": 0.1}},
            "blocks of body 'vit' can't be left out",
        ),
        ({"gram": {}, "crops": {"global_px": 32, "local_px": 16, "clean_px": 60}}, "clean_px 60"),
    ],
)
def test_what_cannot_train_is_refused_before_the_first_step(
    tiles: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_tile_encoder(settings(tiles, **changes), Path(), tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()


def test_tiles_must_be_named() -> None:
    fields = {"tiles": [], "batch": 8, "micro_batch": 4, "backbone": {"shape": SHAPE}}
    loop = {"steps": 6, "learning_rate": 1e-3}
    with pytest.raises(ConfigError, match="tiles: List should have at least 1 item"):
        PretrainConfig.checked({**fields, "loop": loop, "result": RESULT}, source="the test")


def test_a_student_with_too_few_registers_is_refused(tiles: Path, tmp_path: Path) -> None:
    config = distilling(tiles, tmp_path, backbone={"shape": {**SHAPE, "registers": 1}})
    with pytest.raises(ConfigError, match="2 teachers need as many registers"):
        train_tile_encoder(config, Path(), tmp_path / "run", quiet)


def test_the_card_says_how_pixels_were_normalised(tiles: Path) -> None:
    config = settings(tiles, result={**RESULT, "pooling": "cls+mean"})
    card = result_card(config, first_backbone(config.backbone, 32, 0))
    assert (card.dim, card.tile_px, card.tile_mpp) == (32, 32, 0.5)


def test_schedules() -> None:
    rise = RiseConfig(first=0.04, last=0.07, over=0.5)
    assert [round(rise.at(step, 100), 4) for step in (0, 25, 50, 99)] == [0.04, 0.055, 0.07, 0.07]
    momentum = MomentumConfig(first=0.9, last=1.0)
    assert [round(momentum.at(step, 10), 4) for step in (0, 5, 10)] == [0.9, 0.95, 1.0]


def test_an_encoder_may_be_named_with_its_weights(tiles: Path, tmp_path: Path) -> None:
    folder = frozen_folder(tmp_path, "one")
    choice = EncoderChoice(encoder=str(folder), weights=folder / "model.safetensors")
    assert (
        frozen_encoder(choice).digest == frozen_encoder(EncoderChoice(encoder=str(folder))).digest
    )


RECIPES = Path(__file__).parents[4] / "configs" / "align"


def test_recipes_can_be_read() -> None:
    names = {path.stem for path in RECIPES.glob("pretrain-*.yaml")}
    assert names == {"pretrain-small", "pretrain-ruipath", "pretrain-ruipath-gram"}
    for path in RECIPES.glob("pretrain-*.yaml"):
        PretrainConfig.from_yaml(path)
    found = [DistillConfig.from_yaml(path) for path in sorted(RECIPES.glob("distill-*.yaml"))]
    assert [one.encoder for one in found[0].teachers] == ["virchow2", "uni2-h", "h-optimus-1"]
    assert len(found) == 2


def test_the_command_line_trains_and_checks(tiles: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    beside = [{"kind": "folder", "path": tiles.name}]
    dumped = settings(tiles, tiles_are=beside).model_dump(mode="json", exclude_defaults=True)
    recipe.write_text(yaml.safe_dump(dumped))
    run = CliRunner()
    out = tmp_path / "run"
    done = run.invoke(
        app,
        [
            "align",
            "pretrain",
            "--config",
            str(recipe),
            "--data",
            str(tiles.parent),
            "--out",
            str(out),
        ],
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(out / "encoder")
    assert embeddings(out / "encoder").shape == (3, 16)
    refused = run.invoke(app, ["align", "distill", "--config", str(recipe), "--out", str(out)])
    assert isinstance(refused.exception, ConfigError)
    assert "teachers: Field required" in str(refused.exception)
    whole = run.invoke(app, ["align", "data", "check-tiles", str(tiles), "--json"])
    facts = json.loads(whole.stdout)
    assert (whole.exit_code, facts["num_tiles"], facts["sizes"]) == (0, 12, {"48 x 48": 12})
    (tmp_path / "list.txt").write_text(f"{tiles}/0.png\ngone.png\n")
    (tmp_path / "meta.csv").write_text("h5_path,patch_count,cum_sum\ngone.h5,2,3\n")
    paths = [str(tmp_path / "list.txt"), str(tmp_path / "meta.csv")]
    broken = run.invoke(app, ["align", "data", "check-tiles", *paths])
    assert broken.exit_code == 4
    assert "list.txt, line 2: " in broken.stderr
    assert "meta.csv, line 2: cum_sum is 3, and patch_count adds up to 2" in broken.stderr


REPOSITORY = Path(__file__).parents[4]


@pytest.mark.slow
def test_two_processes_reach_the_encoder_of_one(tiles: Path, tmp_path: Path) -> None:
    """A real launch: targets are balanced over both processes, anchors and teacher agree."""
    loop = {"steps": 6, "learning_rate": 1e-3, "log_every": 1, "checkpoint_every": 6}
    config = settings(tiles, loop=loop, gram={"from_step": 2})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_defaults=True)))
    alone: list[str] = []
    one = train_tile_encoder(config, Path(), tmp_path / "one", alone.append)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    done = subprocess.run(
        [sys.executable, *launch, "tests/launched_pretraining.py", str(recipe), tmp_path / "two"],
        cwd=REPOSITORY,
        env=os.environ
        | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    together = (tmp_path / "two" / "lines.txt").read_text().splitlines()
    curves = [
        [float(line.split("loss ")[1].split()[0]) for line in lines if " loss " in line]
        for lines in (alone, together)
    ]
    assert len(curves[0]) == 6
    np.testing.assert_allclose(curves[1], curves[0], atol=1.5e-4)  # written with four digits
    terms = [[line for line in lines if line.startswith("  ")] for lines in (alone, together)]
    assert len(terms[0]) == 6
    for line, other in zip(*terms, strict=True):
        numbers = [[float(part.split()[-1]) for part in one.split(",")] for one in (line, other)]
        np.testing.assert_allclose(numbers[1], numbers[0], atol=3e-4)
    for name, value in weights(one).items():
        torch.testing.assert_close(
            weights(tmp_path / "two" / "encoder")[name], value, atol=1e-5, rtol=1e-4, msg=name
        )
