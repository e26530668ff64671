"""Decoding speed of the language model, beside transformers' generate and the memory roofline.

Run: python benchmarks/lm_decode.py [--json]

The roofline is the machine's read bandwidth, measured in the same run, divided by the bytes that
one text token needs: all weights of the layers and the vocabulary, and the keys and values so far.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

PROMPT_TOKENS = 200
NEW_TOKENS = 64
REPEATS = 5

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
    """Everything measured in one run."""

    model: str
    num_threads: int
    load_average: float
    bandwidth_gb_s: float
    token_mb: float
    roofline_tokens_per_s: float
    load_s: float
    rows: list[Row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="folder; random weights of mini's size")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or random_checkpoint(Path(scratch))
        result = measure(folder, options.threads)
    if options.json:
        print(json.dumps(asdict(result), indent=2))
    else:
        print_table(result)


def measure(folder: Path, num_threads: int) -> Result:
    """Measure all ways of decoding on one checkpoint."""
    import torch

    from ruichat.model.checkpoint import load_checkpoint

    torch.set_num_threads(num_threads)
    began = time.perf_counter()
    fast = load_checkpoint(folder, "openvino", num_threads=num_threads)
    load_s = time.perf_counter() - began
    slow = load_checkpoint(folder, "torch")
    bandwidth = read_bandwidth(num_threads)
    token_bytes = bytes_per_token(fast)
    roof = bandwidth / token_bytes
    ids = prompt(fast.shape)
    runs = {
        "ruichat, OpenVINO": lambda: ours(fast, ids),
        "ruichat, torch": lambda: ours(slow, ids),
        "transformers generate": lambda: generate(slow.decoder, ids),
    }
    times = best_times(runs)
    reference = NEW_TOKENS / times["transformers generate"][1]
    rows = [
        Row(
            name,
            tokens_per_s=NEW_TOKENS / decode,
            of_roofline=NEW_TOKENS / decode / roof,
            of_generate=NEW_TOKENS / decode / reference,
            first_ms=first * 1e3,
        )
        for name, (first, decode) in times.items()
    ]
    return Result(
        model=f"{fast.name}, {sum(w.size for w in fast.weights.values()) / 1e6:.1f}M parameters",
        num_threads=num_threads,
        load_average=os.getloadavg()[0],
        bandwidth_gb_s=bandwidth / 1e9,
        token_mb=token_bytes / 1e6,
        roofline_tokens_per_s=roof,
        load_s=load_s,
        rows=rows,
    )


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


def best_times(runs: dict[str, Callable[[], Times]]) -> dict[str, Times]:
    """The best of several rounds, each way once a round: other processes only ever add time."""
    best = {name: run() for name, run in runs.items()}
    for _ in range(REPEATS):
        for name, run in runs.items():
            first, decode = run()
            best[name] = (min(first, best[name][0]), min(decode, best[name][1]))
    return best


def bytes_per_token(model: Any) -> float:
    """Bytes read to write one text token halfway through the answer."""
    weights = sum(
        value.nbytes
        for name, value in model.weights.items()
        if name.startswith(("language_model.layers", "lm_head"))
    )
    shape = model.shape
    vocabulary = shape.vocab_size * shape.width * 4 if shape.tied else 0
    length = PROMPT_TOKENS + NEW_TOKENS / 2
    cache = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * 4 * length
    return weights + vocabulary + cache


def read_bandwidth(num_threads: int) -> float:
    """Bytes per second that a sum over 128 MB reads, more than any cache; best of many passes."""
    import torch

    torch.set_num_threads(num_threads)
    data = torch.ones(1 << 25)
    best = 0.0
    for _ in range(60):
        began = time.perf_counter()
        data.sum()
        best = max(best, data.numel() * 4 / (time.perf_counter() - began))
    return best


def prompt(shape: Any) -> list[int]:
    """Ids of ordinary words."""
    import numpy as np

    return np.random.default_rng(0).integers(100, shape.vocab_size, PROMPT_TOKENS).tolist()


def random_checkpoint(folder: Path) -> Path:
    """A checkpoint of mini's size; speed doesn't depend on what it has learned."""
    from fakes_model import train_tokenizer

    from ruichat.model.checkpoint import save_checkpoint
    from ruichat.model.configuration import RuiChatConfig
    from ruichat.model.modeling import RuiChatForConditionalGeneration
    from ruichat.model.processing import RuiChatProcessor

    model = RuiChatForConditionalGeneration(RuiChatConfig())
    processor = RuiChatProcessor(train_tokenizer(folder))
    return save_checkpoint(folder, model, processor, name="random", encoder_digest="")


def print_table(result: Result) -> None:
    print(
        f"{result.model}, {result.num_threads} threads, load average {result.load_average:.1f}\n"
        f"memory {result.bandwidth_gb_s:.1f} GB/s, {result.token_mb:.1f} MB a text token: "
        f"roofline {result.roofline_tokens_per_s:.0f} tok/s; OpenVINO loads in "
        f"{result.load_s:.2f} s\n"
    )
    print(f"{'':24}{'tok/s':>8}{'of roof':>9}{'x generate':>12}{'prompt ms':>11}")
    for row in result.rows:
        print(
            f"{row.name:24}{row.tokens_per_s:8.0f}{row.of_roofline:9.2f}"
            f"{row.of_generate:12.2f}{row.first_ms:11.1f}"
        )


if __name__ == "__main__":
    main()
