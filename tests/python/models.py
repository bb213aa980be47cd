"""Writes the models of `cargo xtask bench serving`: the graphs of MobileNetV2 and of a small BERT with
made-up weights, which cost the same to compute as trained ones and need no download.

Usage: models.py FOLDER; writes mobilenet.onnx and bert.onnx there. The same weights every time.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper


class Graph:
    """Nodes and weights as they come; a result's name is its node's number."""

    def __init__(self, name):
        self.name, self.nodes, self.weights = name, [], []
        self.random = np.random.default_rng(7)

    def weight(self, values):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def normal(self, *shape, over):
        """Weights of a size that keeps what they are multiplied with as large as it was."""
        return self.weight((self.random.normal(size=shape) / np.sqrt(over)).astype("float32"))

    def small(self, size):
        return self.weight((self.random.normal(size=size) / 50).astype("float32"))

    def add(self, op, *inputs, name=None, **attributes):
        name = name or f"t{len(self.nodes)}"
        self.nodes.append(h.make_node(op, list(inputs), [name], **attributes))
        return name

    def save(self, path, inputs, outputs):
        graph = h.make_graph(self.nodes, self.name, inputs, outputs, self.weights)
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)])
        model.ir_version = 8
        model.producer_name = "eyot-bench"
        onnx.checker.check_model(model)
        onnx.save(model, path)


def mobilenet(path):
    g = Graph("mobilenet")
    zero, six = g.weight(np.float32(0)), g.weight(np.float32(6))

    def convolution(x, inputs, outputs, kernel, stride=1, groups=1, linear=False):
        over = kernel * kernel * inputs / groups / (1 if linear else 2)
        w = g.normal(outputs, inputs // groups, kernel, kernel, over=over)
        pads = [kernel // 2] * 4
        x = g.add("Conv", x, w, g.small(outputs), kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=groups)
        return x if linear else g.add("Clip", x, zero, six)

    def block(x, inputs, outputs, stride, expansion):
        wide = inputs * expansion
        y = convolution(x, inputs, wide, 1) if expansion > 1 else x
        y = convolution(y, wide, wide, 3, stride, wide)
        y = convolution(y, wide, outputs, 1, linear=True)
        return g.add("Add", x, y) if stride == 1 and inputs == outputs else y

    x = convolution("image", 3, 32, 3, stride=2)
    channels = 32
    # Expansion, channels, repeats, stride: table 2 of the paper.
    for expansion, outputs, repeats, stride in [
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ]:
        for index in range(repeats):
            x = block(x, channels, outputs, stride if index == 0 else 1, expansion)
            channels = outputs
    x = convolution(x, channels, 1280, 1)
    x = g.add("Flatten", g.add("GlobalAveragePool", x))
    g.add("Gemm", x, g.normal(1280, 1000, over=1280), g.small(1000), name="logits")
    image = h.make_tensor_value_info("image", T.FLOAT, ["n", 3, 224, 224])
    g.save(path, [image], [h.make_tensor_value_info("logits", T.FLOAT, ["n", 1000])])


def bert(path, layers=6, width=384, tokens=128, heads=12, vocabulary=8192):
    g = Graph("bert")
    head = width // heads
    ones, half, one = np.ones(width, "float32"), g.weight(np.float32(0.5)), g.weight(np.float32(1))
    root, scale = g.weight(np.float32(np.sqrt(2))), g.weight(np.float32(1 / np.sqrt(head)))
    split = g.weight(np.array([0, tokens, heads, head], "int64"))
    join = g.weight(np.array([0, tokens, width], "int64"))

    def linear(x, inputs, outputs):
        return g.add("Add", g.add("MatMul", x, g.normal(inputs, outputs, over=inputs)), g.small(outputs))

    def norm(x):
        return g.add("LayerNormalization", x, g.weight(ones), g.small(width), axis=-1, epsilon=1e-12)

    def gelu(x):
        error = g.add("Add", g.add("Erf", g.add("Div", x, root)), one)
        return g.add("Mul", g.add("Mul", x, error), half)

    def by_head(x, order):
        return g.add("Transpose", g.add("Reshape", x, split), perm=order)

    def attention(x):
        query, key, value = (linear(x, width, width) for _ in range(3))
        scores = g.add("MatMul", by_head(query, [0, 2, 1, 3]), by_head(key, [0, 2, 3, 1]))
        shares = g.add("Softmax", g.add("Mul", scores, scale), axis=-1)
        mixed = g.add("MatMul", shares, by_head(value, [0, 2, 1, 3]))
        mixed = g.add("Reshape", g.add("Transpose", mixed, perm=[0, 2, 1, 3]), join)
        return linear(mixed, width, width)

    words = g.normal(vocabulary, width, over=1)
    x = norm(g.add("Add", g.add("Gather", words, "tokens"), g.normal(tokens, width, over=1)))
    for _ in range(layers):
        x = norm(g.add("Add", x, attention(x)))
        x = norm(g.add("Add", x, linear(gelu(linear(x, width, 4 * width)), 4 * width, width)))
    # A sentence is what its first token has become.
    first = g.add("Gather", x, g.weight(np.int64(0)), axis=1)
    g.add("Tanh", linear(first, width, width), name="sentence")
    given = h.make_tensor_value_info("tokens", T.INT64, ["n", tokens])
    g.save(path, [given], [h.make_tensor_value_info("sentence", T.FLOAT, ["n", width])])


if __name__ == "__main__":
    (folder,) = sys.argv[1:]
    mobilenet(f"{folder}/mobilenet.onnx")
    bert(f"{folder}/bert.onnx")
