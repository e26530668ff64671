"""Speed and memory of instruction tuning beside transformers' Trainer, and use of a card.

Run: python benchmarks/train.py [--json] [--dialogues 96] [--repeats 2]
     python benchmarks/train.py --utilisation Qwen3-8B      on a card with CUDA

Both sides train the same model (random weights, LoRA of rank 16, region encoder and pointer) with
AdamW on the same dialogues about the same bags, once through, in processes of their own. Ours is
the loop that stages run on: dialogues of a like length together under a budget of text tokens,
tiles one after the other, logits where a loss is; once with a row to each dialogue, once with rows
that dialogues share. The peer is what transformers' guides show:
Trainer, PEFT, shuffled batches of a fixed number of dialogues, everything padded to the longest.
Text tokens are counted without padding; lengths are spread as in WSI-Bench. `--utilisation` times
steps as `ruichat align instruct` takes them in bf16: 16,384 tiles become the 2,048 regions of one
sequence. It compares the operations, counted from shapes, with a product of large matrices in
bfloat16.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import Machine, interleave, machine, median, new_parser, new_table, publish, working

WIDTH, LAYERS, INNER, VOCAB = 384, 6, 1024, 6000
BAG_DIM = 384
BATCH = 8
"""Dialogues in a batch of the peer's; our budget holds as many of middling length."""
RANK = 16
CARD_BAG_DIM = 1536
"""Of tiles by UNI2-h."""
NUM_REGIONS = 2048
"""Of the sequence whose use of a card is measured."""
NUM_TILES = 8 * NUM_REGIONS
"""That its regions are made of."""
NUM_WORDS = 512
"""That follow its regions; half of them carry a loss."""

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)
QUESTION_WORDS = (10, 13, 26, 37, 47, 56, 70)
ANSWER_WORDS = (1, 1, 28, 48, 76, 91, 125)
"""Quantiles over 1,252 dialogues of WSI-Bench, 60 of each of its files."""
WORDS = ("irregular", "glands", "infiltrate", "the", "stroma", "with", "mild", "inflammation")

WAYS = ("RuiChat's loop", "with shared rows", "transformers' Trainer")
ROW_TOKENS = 512
"""Of a shared row."""


@dataclass(frozen=True)
class Row:
    """One way of training.

    Attributes:
        name: of the way.
        tokens_per_s: text tokens, padding left out, best of several repeats.
        median_tokens_per_s: of the same.
        peak_mb: of the whole process, largest of the repeats.
    """

    name: str
    tokens_per_s: float
    median_tokens_per_s: float
    peak_mb: float


@dataclass(frozen=True)
class Report:
    """All ways on this machine; ratios are of our loop to the peer, and of shared rows to own."""

    machine: Machine
    rows: list[Row]
    speed_ratio: float
    memory_ratio: float
    shared_speed_ratio: float
    shared_memory_ratio: float


@dataclass(frozen=True)
class Utilisation:
    """Use of a card.

    Attributes:
        language: the language model.
        device: the card.
        seconds: of a step, median.
        tflops: operations per second of a step, counted from shapes, in 10^12.
        peak_tflops: of a product of large matrices.
        utilisation: the one over the other; recomputed layers aren't counted as work.
        memory_gb: most that was allocated.
        foretold_gb: by `ruichat align plan`.
    """

    language: str
    device: str
    seconds: float
    tflops: float
    peak_tflops: float
    utilisation: float
    memory_gb: float
    foretold_gb: float


def main() -> None:
    """Train all ways, or time a card."""
    parser = new_parser(__doc__, threads=[], repeats=2)
    parser.add_argument("--dialogues", type=int, default=96, help="how many are trained on")
    parser.add_argument("--utilisation", metavar="LM", help="one of Qwen3's, on a card")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help="for its own use")
    options = parser.parse_args()
    if options.child:
        way, folder = options.child
        print(json.dumps(train(way, Path(folder))))
    elif options.utilisation:
        used = time_card(options.utilisation)
        publish(used, card_table(used), as_json=options.json)
    else:
        report = compare(options.dialogues, options.repeats)
        publish(report, tabulate(report), as_json=options.json)


def compare(num_dialogues: int, repeats: int) -> Report:
    """Train all ways in turns, each in a fresh process."""
    here = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with working("writing dialogues and bags"):
            write_data(folder, num_dialogues)
        runs = {way: lambda way=way: in_child(way, folder) for way in WAYS}
        with working("training"):
            found = interleave(runs, repeats)
    rows = []
    for way in WAYS:
        speeds = [run["tokens"] / run["seconds"] for run in found[way]]
        peak = max(run["peak_mb"] for run in found[way])
        rows.append(Row(way, max(speeds), median(speeds), peak))
    ours, shared, theirs = rows
    return Report(
        here,
        rows,
        ours.tokens_per_s / theirs.tokens_per_s,
        ours.peak_mb / theirs.peak_mb,
        shared.tokens_per_s / ours.tokens_per_s,
        shared.peak_mb / ours.peak_mb,
    )


def in_child(way: str, folder: Path) -> dict[str, float]:
    """What a process that trains one way prints last."""
    command = [sys.executable, "-W", "ignore", __file__, "--child", way, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def write_data(folder: Path, num: int) -> None:
    """Dialogues about drawn bags; lengths are those of short questions and of some reports."""
    from ruichat.truth.datasets.dialogue import Dialogue

    rng = np.random.default_rng(0)
    bags = folder / "bags"
    bags.mkdir()
    lines: list[bytes] = []
    for i in range(num):
        draw_bag(int(np.exp(rng.normal(6, 0.8))) + 64, i).save(bags / f"s{i}.h5")
        turns = [
            {"role": "user", "text": f"{draw_text(rng, QUESTION_WORDS)}?"},
            {"role": "assistant", "text": f"{draw_text(rng, ANSWER_WORDS)} [R{1 + i % 8}]."},
        ]
        values = {"id": f"d{i}", "patient": f"p{i}", "slides": [f"s{i}"], "num_regions": 32}
        lines.append(Dialogue.model_validate({**values, "turns": turns}).to_line())
    (folder / "dialogues.jsonl").write_bytes(b"".join(lines))


def draw_text(rng: np.random.Generator, lengths: tuple[int, ...]) -> str:
    """Words as many as a distribution of lengths has them."""
    num = round(float(np.interp(rng.random(), SHARES, lengths)))
    return " ".join(rng.choice(WORDS, num))


def draw_bag(num_tiles: int, seed: int) -> Any:
    """A bag of random tiles in a square."""
    from ruichat.features.bag import FeatureBag

    rng = np.random.default_rng(seed)
    side = int(np.ceil(num_tiles**0.5))
    xy0 = np.array([(i % side, i // side) for i in range(num_tiles)], np.int64) * 224
    plain = np.full(num_tiles, 0.5, np.float32)
    return FeatureBag(
        embeddings=rng.standard_normal((num_tiles, BAG_DIM)).astype(np.float32),
        xy0=xy0,
        span0=224,
        base_mpp=0.5,
        size0=(side * 224, side * 224),
        focus=plain,
        hematoxylin=plain,
        eosin=plain,
        tissue_area_mm2=num_tiles * 0.112**2,
        encoder="mini",
        encoder_digest="0" * 64,
        slide_digest=str(seed),
        fingerprint="benchmark",
    )


def new_model() -> Any:
    """Random weights in the form of the model, wrapped in LoRA."""
    import torch

    from ruichat.align.instruct import wrap_in_lora
    from ruichat.align.laid_settings import LaidTraining
    from ruichat.align.loop import LoopConfig
    from ruichat.model.configuration import RuiChatConfig
    from ruichat.model.modeling import RuiChatForConditionalGeneration

    text = {
        "model_type": "qwen3",
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "intermediate_size": INNER,
        "tie_word_embeddings": True,
    }
    torch.manual_seed(0)
    model = RuiChatForConditionalGeneration(RuiChatConfig(text_config=text, bag_dim=BAG_DIM))
    config = LaidTraining(rank=RANK, loop=LoopConfig(steps=3, learning_rate=1e-4))
    return wrap_in_lora(model, config, whole=("region_encoder", "pointer"))


def new_batches(folder: Path, row_tokens: int) -> Any:
    """The dialogues as our loop takes them: a step to a micro-batch."""
    from ruichat.align.data.dialogues import FiledDialogues
    from ruichat.align.data.packing import BatchConfig, Budget
    from ruichat.align.data.slides import Reader
    from ruichat.align.dialogue_batches import DialogueBatches
    from ruichat.model.checkpoint import MINI_DIR
    from ruichat.model.processing import RuiChatProcessor
    from ruichat.truth.datasets.bags import Bags
    from ruichat.truth.datasets.store import DialogueFile

    budget = Budget(tokens=1024, tiles=65_536, row_tokens=row_tokens)
    dialogues = FiledDialogues(
        [DialogueFile(folder / "dialogues.jsonl")],
        Bags([folder / "bags"]),
        Reader("mini"),
        max_regions=32,
        facts=False,
    )
    return DialogueBatches(
        dialogues,
        RuiChatProcessor.from_pretrained(MINI_DIR),
        BatchConfig(budget=budget, micro_batches=1, facts=False),
        seed=0,
        max_positions=2048,
        log=lambda line: None,
    )


def train(way: str, folder: Path) -> dict[str, float]:
    """Train one way in this process: text tokens, seconds of all steps, peak memory."""
    model, batches = new_model(), new_batches(folder, ROW_TOKENS if way == WAYS[1] else 0)
    work = train_peer if way == WAYS[2] else train_ours
    tokens, seconds = work(model, batches, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"tokens": tokens, "seconds": seconds, "peak_mb": peak}


def train_ours(model: Any, batches: Any, folder: Path) -> tuple[int, float]:
    """The loop that stages run on; its first step warms up and isn't counted."""
    from ruichat.align.data.batch import encode_batch, words_loss
    from ruichat.align.loop import LoopConfig, StepReport, run_loop

    marks: list[tuple[float, int]] = []

    def mark(report: StepReport) -> None:
        marks.append((time.perf_counter(), report.num_tokens))

    config = LoopConfig(
        steps=max(3, batches.steps), learning_rate=1e-4, checkpoint_every=10**6, workers=1
    )
    with tempfile.TemporaryDirectory(dir=folder) as out:
        run_loop(
            model,
            batches.micro_batches,
            lambda batch: words_loss(model, batch, encode_batch(base(model), batch)),
            config,
            Path(out),
            name="benchmark",
            log=lambda line: None,
            after_step=mark,
        )
    return sum(tokens for _, tokens in marks[1:]), marks[-1][0] - marks[0][0]


def base(model: Any) -> Any:
    """The model inside PEFT's wrapping."""
    return model.get_base_model()


def train_peer(model: Any, batches: Any, folder: Path) -> tuple[int, float]:
    """Transformers' Trainer on the same dialogues, padded."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    items = [batches._row(row) for row in range(len(batches._tokens))]
    marks: list[float] = []

    class Mark(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())

    seen: list[int] = []

    def collate(chosen: list[Any]) -> dict[str, Any]:
        seen.append(sum(len(words.input_ids) for words, _ in chosen))
        return pad(chosen, batches._processor)

    with tempfile.TemporaryDirectory(dir=folder) as out:
        arguments = TrainingArguments(
            out,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            save_strategy="no",
            report_to=[],
            remove_unused_columns=False,
            disable_tqdm=True,
            logging_strategy="no",
            use_cpu=not torch.cuda.is_available(),
        )
        Trainer(
            model=model,
            args=arguments,
            train_dataset=items,
            data_collator=collate,
            callbacks=[Mark()],
        ).train()
    return sum(seen[1:]), marks[-1] - marks[0]


def pad(chosen: list[Any], processor: Any) -> dict[str, Any]:
    """Words, tiles and regions padded to the longest of the batch."""
    import torch

    words = processor.collate([one for one, _ in chosen])
    laid = [one for _, one in chosen]
    n = max(len(one.region) for one in laid)
    k = max(one.num_regions for one in laid)
    tiles = torch.zeros(len(laid), n, BAG_DIM)
    region = torch.full((len(laid), n), -1)
    geometry = torch.zeros(len(laid), k, laid[0].geometry.shape[1])
    for row, one in enumerate(laid):
        tiles[row, : len(one.region)] = torch.from_numpy(one.embeddings)
        region[row, : len(one.region)] = torch.from_numpy(one.region)
        geometry[row, : one.num_regions] = torch.from_numpy(one.geometry)
    return {
        "input_ids": torch.from_numpy(words.input_ids),
        "attention_mask": torch.from_numpy(words.attention_mask),
        "labels": torch.from_numpy(words.labels),
        "tile_embeddings": tiles,
        "tile_region": region,
        "region_geometry": geometry,
    }


def tabulate(report: Report) -> Any:
    """The table of all ways."""
    table = new_table(
        f"instruction tuning\n{report.machine.summary}", "", "tokens/s", "median", "peak MB"
    )
    for row in report.rows:
        table.add_row(
            row.name,
            f"{row.tokens_per_s:.0f}",
            f"{row.median_tokens_per_s:.0f}",
            f"{row.peak_mb:.0f}",
        )
    for name, speed, memory in (
        ("ours over theirs", report.speed_ratio, report.memory_ratio),
        ("shared rows over own", report.shared_speed_ratio, report.shared_memory_ratio),
    ):
        table.add_row(name, f"{speed:.2f}", "", f"{memory:.2f}")
    return table


def time_card(name: str, steps: int = 8) -> Utilisation:
    """Steps of one sequence of 2,048 regions and 512 words, LoRA of rank 64, bfloat16."""
    import torch

    from ruichat.align.preflight.memory import Plan, memory_of, step_flops
    from ruichat.align.preflight.shapes import QWEN3, RegionShape

    if not torch.cuda.is_available():
        sys.exit("this needs a card with CUDA; without one, run the comparison")
    language = QWEN3[name]
    tokens = NUM_REGIONS + NUM_WORDS
    plan = Plan("bf16", 64, tokens, NUM_TILES, NUM_WORDS / 2 / tokens, recompute=False)
    regions = RegionShape(CARD_BAG_DIM, language.width)
    device = torch.device("cuda")
    model = card_model(language, device)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    batch = card_batch(language, device)
    times = list(card_steps(model, optimiser, batch, steps))
    flops = step_flops(language, regions, plan) + attention_flops(language, tokens)
    peak = matmul_peak()
    speed = flops / median(times[2:])
    return Utilisation(
        name,
        torch.cuda.get_device_name(),
        median(times[2:]),
        speed / 1e12,
        peak / 1e12,
        speed / peak,
        torch.cuda.max_memory_allocated() / 1e9,
        memory_of(language, regions, plan).total / 1e9,
    )


def card_model(language: Any, device: Any) -> Any:
    """Random weights of a language model with 2,048 region names; trains as `instruct` does."""
    import torch

    from ruichat.align.instruct import wrap_in_lora
    from ruichat.align.laid_settings import LaidTraining
    from ruichat.align.loop import LoopConfig
    from ruichat.align.stages.running import use_float32
    from ruichat.model.configuration import RuiChatConfig
    from ruichat.model.modeling import RuiChatForConditionalGeneration

    text = {
        "model_type": "qwen3",
        "vocab_size": language.vocab,
        "hidden_size": language.width,
        "num_hidden_layers": language.layers,
        "num_attention_heads": language.heads,
        "num_key_value_heads": language.kv_heads,
        "head_dim": language.head_dim,
        "intermediate_size": language.inner,
        "tie_word_embeddings": language.tied,
    }
    config = RuiChatConfig(
        text_config=text, bag_dim=CARD_BAG_DIM, num_region_ids=NUM_REGIONS, max_regions=NUM_REGIONS
    )
    torch.set_default_dtype(torch.bfloat16)
    with device:
        model = RuiChatForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    lora = LaidTraining(rank=64, alpha=128, loop=LoopConfig(steps=3, learning_rate=1e-4))
    wrapped = wrap_in_lora(model, lora, whole=("region_encoder", "pointer")).to(device)
    use_float32(wrapped)
    return wrapped.train()


def card_batch(language: Any, device: Any) -> dict[str, Any]:
    """One sequence: tiles of all regions, their names, then words of which half carry a loss."""
    import torch

    from ruichat.model.regions import GEOMETRY_DIM
    from ruichat.model.vocabulary import FIRST_REGION_ID

    names = torch.arange(FIRST_REGION_ID, FIRST_REGION_ID + NUM_REGIONS)
    words = torch.randint(FIRST_REGION_ID + NUM_REGIONS, language.vocab, (NUM_WORDS,))
    ids = torch.cat([names, words])[None].to(device)
    labels = ids.clone()
    labels[:, : -NUM_WORDS // 2] = -100
    return {
        "input_ids": ids,
        "labels": labels,
        "tile_embeddings": torch.randn(1, NUM_TILES, CARD_BAG_DIM, device=device),
        "tile_region": (torch.arange(NUM_TILES, device=device) % NUM_REGIONS)[None],
        "region_geometry": torch.rand(1, NUM_REGIONS, GEOMETRY_DIM, device=device),
    }


def card_steps(model: Any, optimiser: Any, batch: dict[str, Any], steps: int) -> Iterator[float]:
    """Seconds of each step."""
    import torch

    device = batch["input_ids"].device.type

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(steps):
        wait()
        began = time.perf_counter()
        with torch.autocast(device, torch.bfloat16):
            loss = model(**batch, skip_logits=True, use_cache=False).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        wait()
        yield time.perf_counter() - began


def attention_flops(language: Any, tokens: int) -> float:
    """Scores and their use, forward and twice backward, half of them masked."""
    return 3 * 2 * 2 * tokens**2 / 2 * language.heads * language.head_dim * language.layers


def matmul_peak(side: int = 8192) -> float:
    """Operations per second of a product of large matrices in bfloat16, the best of ten."""
    import torch

    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def card_table(used: Utilisation) -> Any:
    """The table of a card."""
    table = new_table(f"one step on {used.device}", "", "s", "TFLOP/s", "of peak", "GB", "foretold")
    table.add_row(
        f"{used.language}, LoRA r64",
        f"{used.seconds:.3f}",
        f"{used.tflops:.0f}",
        f"{used.utilisation:.2f}",
        f"{used.memory_gb:.1f}",
        f"{used.foretold_gb:.1f}",
    )
    table.add_row("product of matrices", "", f"{used.peak_tflops:.0f}", "1.00", "", "")
    return table


if __name__ == "__main__":
    main()
