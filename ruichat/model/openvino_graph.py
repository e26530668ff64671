"""The layers of a Qwen3 or Llama decoder as an OpenVINO graph with explicit keys and values.

Written out operation by operation from the checkpoint's arrays, so that answering loads neither
torch nor transformers, and nothing is traced. Past keys and values come in as padded buffers that
the caller writes in place; attention over past and new text tokens is joined at the scores, so no
step copies what was read before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ruichat.model.region_state import Weights
from ruichat.model.shape import ModelShape
from ruichat.openvino import import_openvino

PREFIX = "language_model."


def build_graph(weights: Weights, shape: ModelShape) -> Any:
    """An `openvino.Model` of all layers and the vocabulary.

    Inputs: `embeds` [t, e]; `rotary` [2, t, d] cosines and sines; `mask` [g * t, p + t] added to
    the scores, repeated for the g query heads that share keys; `rows` [r] positions whose logits
    are wanted; `key.i`, `value.i` [h, p, d] per layer.
    Outputs: `logits` [r, v], `hidden` [r, e], `new` [layers, 2, h, t, d].
    """
    make: Any = import_openvino().Model
    graph = _Builder(weights, shape).build()
    return make(graph.results, graph.inputs, "ruichat_decoder")


def build_step_graph(weights: Weights, shape: ModelShape) -> Any:
    """An `openvino.Model` that takes one text token of each of b dialogues.

    Inputs: `embeds` [b, e]; `rotary` [2, b, d]; `mask` [b, 1, 1, p + 1] added to the scores;
    `key.i`, `value.i` [b, h, p, d] per layer.
    Outputs: `logits` [b, v], `hidden` [b, e], `new` [layers, 2, b, h, d].
    """
    make: Any = import_openvino().Model
    graph = _StepBuilder(weights, shape).build()
    return make(graph.results, graph.inputs, "ruichat_step")


@dataclass(frozen=True)
class _Graph:
    results: list[Any]
    inputs: list[Any]


class _Builder:
    def __init__(self, weights: Weights, shape: ModelShape) -> None:
        self.op: Any = import_openvino().opset15
        self.weights = weights
        self.shape = shape
        self.inputs: list[Any] = []

    def build(self) -> _Graph:
        s, op = self.shape, self.op
        x = self._input("embeds", [-1, s.width])
        self.rotary = self._input("rotary", [2, -1, s.head_dim])
        cos, sin = (op.gather(self.rotary, _ints(i), _ints(0)) for i in (0, 1))
        mask = self._input("mask", [-1, -1])
        rows = self._input("rows", [-1], np.int64)
        new: list[Any] = []
        for i in range(s.num_layers):
            past = [
                self._input(f"{kind}.{i}", [s.num_kv_heads, -1, s.head_dim])
                for kind in ("key", "value")
            ]
            x, key, value = self._layer(f"{PREFIX}layers.{i}.", x, cos, sin, mask, past)
            pair = op.concat([op.unsqueeze(x, _ints(0)) for x in (key, value)], 0)
            new.append(op.unsqueeze(pair, _ints(0)))
        hidden = self._norm(op.gather(x, rows, _ints(0)), f"{PREFIX}norm")
        table = self.weights.get("lm_head.weight", self.weights[f"{PREFIX}embed_tokens.weight"])
        logits = op.matmul(hidden, op.constant(table, shared_memory=True), False, True)
        outputs = {"logits": logits, "hidden": hidden, "new": op.concat(new, 0)}
        return _Graph([self._output(name, node) for name, node in outputs.items()], self.inputs)

    def _layer(
        self, name: str, x: Any, cos: Any, sin: Any, mask: Any, past: list[Any]
    ) -> tuple[Any, Any, Any]:
        """One layer; returns its output and the new keys and values, [h, t, d]."""
        op, attention = self.op, f"{name}self_attn."
        normed = self._norm(x, f"{name}input_layernorm")
        query, key, value = (
            self._heads(self._linear(normed, f"{attention}{kind}_proj")) for kind in "qkv"
        )
        query = self._rotate(self._head_norm(query, f"{attention}q_norm"), cos, sin)
        key = self._rotate(self._head_norm(key, f"{attention}k_norm"), cos, sin)
        read = self._attend(query, key, value, mask, past)
        x = op.add(x, self._linear(read, f"{attention}o_proj"))
        normed = self._norm(x, f"{name}post_attention_layernorm")
        gate = op.swish(self._linear(normed, f"{name}mlp.gate_proj"))
        inner = op.multiply(gate, self._linear(normed, f"{name}mlp.up_proj"))
        return op.add(x, self._linear(inner, f"{name}mlp.down_proj")), key, value

    def _attend(self, query: Any, key: Any, value: Any, mask: Any, past: list[Any]) -> Any:
        """Attention over past and new; query heads that share keys are stacked as rows."""
        op, s = self.op, self.shape
        stacked = op.reshape(query, _ints(s.num_kv_heads, -1, s.head_dim), False)
        scores = op.concat(
            [op.matmul(stacked, past[0], False, True), op.matmul(stacked, key, False, True)], 2
        )
        scores = op.multiply(scores, _float(s.head_dim**-0.5))
        weight = op.softmax(op.add(scores, mask), 2)
        lengths = [op.gather(op.shape_of(x), _ints(1), _ints(0)) for x in (past[0], key)]
        lengths = op.concat([op.unsqueeze(x, _ints(0)) for x in lengths], 0)
        parts = op.variadic_split(weight, _ints(2), lengths)
        read = op.add(
            op.matmul(parts.output(0), past[1], False, False),
            op.matmul(parts.output(1), value, False, False),
        )
        apart = op.transpose(
            op.reshape(read, _ints(s.num_heads, -1, s.head_dim), False), _ints(1, 0, 2)
        )
        return op.reshape(apart, _ints(-1, s.num_heads * s.head_dim), False)

    def _heads(self, x: Any) -> Any:
        """[t, h*d] to [h, t, d]."""
        op = self.op
        apart = op.reshape(x, _ints(0, -1, self.shape.head_dim), True)
        return op.transpose(apart, _ints(1, 0, 2))

    def _rotate(self, x: Any, cos: Any, sin: Any) -> Any:
        """Rotary embedding in the half-split form of transformers."""
        op = self.op
        halves = op.split(x, _ints(2), 2)
        turned = op.concat([op.negative(halves.output(1)), halves.output(0)], 2)
        return op.add(op.multiply(x, cos), op.multiply(turned, sin))

    def _head_norm(self, x: Any, name: str) -> Any:
        """Qwen3 normalises each head's queries and keys, Llama doesn't."""
        return self._norm(x, name) if f"{name}.weight" in self.weights else x

    def _norm(self, x: Any, name: str) -> Any:
        op = self.op
        mean = op.reduce_mean(op.multiply(x, x), _ints(-1), True)
        root = op.sqrt(op.add(mean, _float(self.shape.norm_eps)))
        return op.multiply(op.divide(x, root), self._constant(f"{name}.weight"))

    def _linear(self, x: Any, name: str) -> Any:
        y = self.op.matmul(x, self._constant(f"{name}.weight"), False, True)
        if f"{name}.bias" in self.weights:
            y = self.op.add(y, self._constant(f"{name}.bias"))
        return y

    def _constant(self, name: str) -> Any:
        return self.op.constant(self.weights[name], shared_memory=True)

    def _input(self, name: str, shape: list[int], dtype: Any = np.float32) -> Any:
        node = self.op.parameter(shape, dtype, name)
        node.output(0).get_tensor().set_names({name})
        self.inputs.append(node)
        return node

    def _output(self, name: str, node: Any) -> Any:
        node.output(0).get_tensor().set_names({name})
        return self.op.result(node)


class _StepBuilder(_Builder):
    """The same layers where rows are dialogues, not text tokens that follow each other."""

    def build(self) -> _Graph:
        s, op = self.shape, self.op
        x = self._input("embeds", [-1, s.width])
        rotary = self._input("rotary", [2, -1, s.head_dim])
        cos, sin = (op.unsqueeze(op.gather(rotary, _ints(i), _ints(0)), _ints(1)) for i in (0, 1))
        mask = self._input("mask", [-1, 1, 1, -1])
        new: list[Any] = []
        for i in range(s.num_layers):
            past = [
                self._input(f"{kind}.{i}", [-1, s.num_kv_heads, -1, s.head_dim])
                for kind in ("key", "value")
            ]
            x, key, value = self._layer(f"{PREFIX}layers.{i}.", x, cos, sin, mask, past)
            pair = op.concat([op.unsqueeze(x, _ints(0)) for x in (key, value)], 0)
            new.append(op.unsqueeze(pair, _ints(0)))
        hidden = self._norm(x, f"{PREFIX}norm")
        table = self.weights.get("lm_head.weight", self.weights[f"{PREFIX}embed_tokens.weight"])
        logits = op.matmul(hidden, op.constant(table, shared_memory=True), False, True)
        outputs = {"logits": logits, "hidden": hidden, "new": op.concat(new, 0)}
        return _Graph([self._output(name, node) for name, node in outputs.items()], self.inputs)

    def _attend(self, query: Any, key: Any, value: Any, mask: Any, past: list[Any]) -> Any:
        op, s = self.op, self.shape
        group = s.num_heads // s.num_kv_heads
        query = op.reshape(query, _ints(0, s.num_kv_heads, group, s.head_dim), True)
        key, value = op.unsqueeze(key, _ints(2)), op.unsqueeze(value, _ints(2))
        scores = op.concat(
            [op.matmul(query, past[0], False, True), op.matmul(query, key, False, True)], 3
        )
        weight = op.softmax(op.add(op.multiply(scores, _float(s.head_dim**-0.5)), mask), 3)
        length = op.unsqueeze(op.gather(op.shape_of(past[0]), _ints(2), _ints(0)), _ints(0))
        lengths = op.concat([length, op.constant(np.array([1], np.int64))], 0)
        parts = op.variadic_split(weight, _ints(3), lengths)
        read = op.add(
            op.matmul(parts.output(0), past[1], False, False),
            op.matmul(parts.output(1), value, False, False),
        )
        return op.reshape(read, _ints(0, s.num_heads * s.head_dim), True)

    def _heads(self, x: Any) -> Any:
        """[b, h*d] to [b, h, d]."""
        return self.op.reshape(x, _ints(0, -1, self.shape.head_dim), True)


def _ints(*values: int) -> Any:
    """A vector, or a scalar where one value is given."""
    return np.array(values, np.int64).squeeze()


def _float(value: float) -> Any:
    return np.array(value, np.float32)
