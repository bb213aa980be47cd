"""Trains the classifier on tickets.tsv, and writes model.onnx and vocabulary.py into a folder.

    pip install scikit-learn onnx
    python3 train.py [FOLDER]

Prints the accuracy on tickets that a model of each of five folds has not seen.
"""

import csv
import math
import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from tokens import tokens

HERE = pathlib.Path(__file__).parent
# What stands in one ticket alone says nothing about others.
FEWEST = 2


def counts(texts, vocabulary):
    index = {token: column for column, token in enumerate(vocabulary)}
    rows = numpy.zeros((len(texts), len(vocabulary)), dtype=numpy.float32)
    for row, text in zip(rows, texts):
        for token in tokens(text):
            if token in index:
                row[index[token]] += 1
    return rows


def model(classifier, weights):
    """Counts in, probabilities out: softmax((counts * weights) @ coefficients + intercepts)."""
    constant = lambda name, values: helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.astype(numpy.float32).ravel())
    folded = classifier.coef_.T * weights[:, None]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["counts", "coefficients"], ["products"]),
            helper.make_node("Add", ["products", "intercepts"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        ],
        "tickets",
        [helper.make_tensor_value_info("counts", TensorProto.FLOAT, ["rows", len(weights)])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", len(classifier.classes_)])],
        [constant("coefficients", folded), constant("intercepts", classifier.intercept_)],
    )
    return helper.make_model(graph, producer_name="eyot-example", ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def main():
    into = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    with open(HERE / "tickets.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
    seen = {}
    for text in texts:
        for token in set(tokens(text)):
            seen[token] = seen.get(token, 0) + 1
    vocabulary = sorted(token for token, times in seen.items() if times >= FEWEST)
    weights = numpy.array([math.log(len(texts) / seen[token]) for token in vocabulary], dtype=numpy.float32)
    features = counts(texts, vocabulary) * weights
    classifier = LogisticRegression(C=10.0, max_iter=1000)
    accuracy = cross_val_score(classifier, features, labels, cv=5).mean()
    classifier.fit(features, labels)
    onnx.save(model(classifier, weights), into / "model.onnx")
    lines = [f"LABELS = {[str(label) for label in classifier.classes_]!r}", "VOCABULARY = ["]
    lines += [f"    {token!r}," for token in vocabulary] + ["]", ""]
    (into / "vocabulary.py").write_text('"""Made by train.py: what the model\'s columns stand for."""\n\n' + "\n".join(lines))
    print(f"accuracy {accuracy:.3f} on {len(texts)} tickets, {len(vocabulary)} tokens")


if __name__ == "__main__":
    main()
