"""Decoding speed of the language model, beside transformers' generate and a memory roofline.

Run: python benchmarks/lm_decode.py [--json] [--threads 1 2] [--random]

The roofline is the read bandwidth measured in the same run, divided by the bytes that one text
token needs: all weights of the layers and the vocabulary, and the keys and values so far. It is
measured on an array of just so many bytes, because weights that fit a cache are read from there.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import (
    ROOT,
    Machine,
    cache_bytes,
    interleave,
    machine,
    new_parser,
    new_table,
    num_cpus,
    publish,
    read_bandwidth,
    weight_bytes,
    working,
)

PROMPT_TOKENS = 200
NEW_TOKENS = 64

Times = tuple[float, float]
"""Seconds to read the prompt, and to write the new text tokens."""


@dataclass(frozen=True)
class Row:
    """One way of decoding.

    Attributes:
        name: what decodes.
        tokens_per_s: best of several repeats.
        of_roofline: share of the memory roofline.
        of_generate: ratio to transformers' generate in float32.
        first_ms: time to read the prompt.
    """

    name: str
    tokens_per_s: float
    of_roofline: float
    of_generate: float
    first_ms: float


@dataclass(frozen=True)
class Result:
    """What was measured with one number of threads.

    Attributes:
        num_threads: of OpenVINO and of torch.
        bandwidth_gb_s: read from an array of the bytes that one text token needs.
        memory_gb_s: read from an array larger than caches.
        token_mb: what one text token reads.
        roofline_tokens_per_s: of `bandwidth_gb_s`.
        load_s: until the checkpoint is ready on OpenVINO.
        rows: the ways of decoding.
    """

    num_threads: int
    bandwidth_gb_s: float
    memory_gb_s: float
    token_mb: float
    roofline_tokens_per_s: float
    load_s: float
    rows: list[Row]


@dataclass(frozen=True)
class Report:
    """Everything measured in one run."""

    machine: Machine
    model: str
    repeats: int
    results: list[Result]


def main() -> None:
    parser = new_parser(__doc__, threads=[num_cpus()], repeats=5)
    parser.add_argument("--checkpoint", type=Path, help="folder; the shipped mini where it is")
    parser.add_argument("--random", action="store_true", help="random weights of mini's size")
    options = parser.parse_args()
    here = machine()
    with tempfile.TemporaryDirectory() as scratch:
        folder = choose_checkpoint(options.checkpoint, options.random, Path(scratch))
        results: list[Result] = []
        for num_threads in options.threads:
            with working(f"decoding with {num_threads} threads"):
                results.append(measure(folder, num_threads, options.repeats))
        report = Report(here, describe(folder), options.repeats, results)
    publish(report, tabulate(report), as_json=options.json)


def choose_checkpoint(given: Path | None, random: bool, scratch: Path) -> Path:
    """The checkpoint asked for, else the shipped one, else one of random weights."""
    from ruichat.model.checkpoint import MINI_DIR
    from ruichat.model.checkpoint_files import MANIFEST_FILE

    if given is not None:
        return given
    if not random and (MINI_DIR / MANIFEST_FILE).is_file():
        return MINI_DIR
    return random_checkpoint(scratch)


def describe(folder: Path) -> str:
    """Name and size of a checkpoint."""
    from ruichat.model.checkpoint_files import WEIGHTS_FILE, read_manifest
    from ruichat.model.weights import read_weights

    size = sum(value.size for value in read_weights(folder / WEIGHTS_FILE).values())
    return f"{read_manifest(folder).details['name']}, {size / 1e6:.1f}M parameters"


def measure(folder: Path, num_threads: int, repeats: int) -> Result:
    """Measure all ways of decoding on one checkpoint."""
    import torch

    from ruichat.model.checkpoint import load_checkpoint

    torch.set_num_threads(num_threads)
    began = time.perf_counter()
    fast = load_checkpoint(folder, "openvino", num_threads=num_threads)
    load_s = time.perf_counter() - began
    slow = load_checkpoint(folder, "torch")
    # Halfway through the answer.
    token_bytes = weight_bytes(fast) + cache_bytes(fast, PROMPT_TOKENS + NEW_TOKENS / 2)
    bandwidth = read_bandwidth(num_threads, int(token_bytes))
    roof = bandwidth / token_bytes
    ids = prompt(fast.shape)
    runs: dict[str, Callable[[], Times]] = {
        "ruichat, OpenVINO": lambda: ours(fast, ids),
        "ruichat, torch": lambda: ours(slow, ids),
        "transformers generate": lambda: generate(slow.decoder, ids),
    }
    best = {name: best_of(times) for name, times in interleave(runs, repeats).items()}
    reference = NEW_TOKENS / best["transformers generate"][1]
    rows = [
        Row(
            name,
            tokens_per_s=NEW_TOKENS / decode,
            of_roofline=NEW_TOKENS / decode / roof,
            of_generate=NEW_TOKENS / decode / reference,
            first_ms=first * 1e3,
        )
        for name, (first, decode) in best.items()
    ]
    return Result(
        num_threads=num_threads,
        bandwidth_gb_s=bandwidth / 1e9,
        memory_gb_s=read_bandwidth(num_threads) / 1e9,
        token_mb=token_bytes / 1e6,
        roofline_tokens_per_s=roof,
        load_s=load_s,
        rows=rows,
    )


def best_of(times: list[Times]) -> Times:
    """The best of several rounds: other processes only ever add time."""
    return min(first for first, _ in times), min(decode for _, decode in times)


def ours(model: Any, ids: list[int]) -> Times:
    """Seconds to read the prompt, and to write the new text tokens one by one."""
    from ruichat.model.region_state import no_regions

    regions, state = no_regions(model.shape), model.decoder.start()
    began = time.perf_counter()
    logits = model.decoder.read(state, ids, regions)
    first = time.perf_counter()
    for _ in range(NEW_TOKENS):
        logits = model.decoder.read(state, [int(logits[-1].argmax())], regions)
    return first - began, time.perf_counter() - first


def generate(decoder: Any, ids: list[int]) -> Times:
    """The same with transformers' generate; decoding is the whole less the first step."""
    import torch

    prompt_ids = torch.tensor([ids])

    def run(num: int) -> float:
        began = time.perf_counter()
        decoder.model.generate(
            prompt_ids, max_new_tokens=num, min_new_tokens=num, do_sample=False, use_cache=True
        )
        return time.perf_counter() - began

    first = run(1)
    return first, run(NEW_TOKENS + 1) - first


def prompt(shape: Any) -> list[int]:
    """Ids of ordinary words."""
    import numpy as np

    return np.random.default_rng(0).integers(100, shape.vocab_size, PROMPT_TOKENS).tolist()


def random_checkpoint(folder: Path) -> Path:
    """A checkpoint of mini's size; speed doesn't depend on what it has learned."""
    from ruichat.model.checkpoint import save_checkpoint
    from ruichat.model.configuration import RuiChatConfig
    from ruichat.model.modeling import RuiChatForConditionalGeneration
    from ruichat.model.processing import RuiChatProcessor

    sys.path.insert(0, str(ROOT / "tests"))
    fakes: Any = importlib.import_module("fakes_model")
    model = RuiChatForConditionalGeneration(RuiChatConfig())
    processor = RuiChatProcessor(fakes.train_tokenizer(folder))
    return save_checkpoint(folder, model, processor, name="random", encoder_digest="")


def tabulate(report: Report) -> Any:
    """One block of rows for each number of threads."""
    table = new_table(
        f"{report.model}\n{report.machine.summary}",
        *("", "threads", "tok/s", "of roofline", "x generate", "prompt ms"),
    )
    for result in report.results:
        for row in result.rows:
            table.add_row(
                row.name,
                str(result.num_threads),
                f"{row.tokens_per_s:.0f}",
                f"{row.of_roofline:.2f}",
                f"{row.of_generate:.2f}",
                f"{row.first_ms:.1f}",
            )
        roof = f"{result.roofline_tokens_per_s:.0f}"
        table.add_row("roofline", str(result.num_threads), roof, "1.00", end_section=True)
    table.caption = "\n".join(
        f"{result.num_threads} threads: {result.token_mb:.1f} MB a text token at "
        f"{result.bandwidth_gb_s:.1f} GB/s ({result.memory_gb_s:.1f} from beyond caches); "
        f"OpenVINO is loaded in {result.load_s:.2f} s"
        for result in report.results
    )
    return table


if __name__ == "__main__":
    main()
