"""Runs an ONNX file on rows of CSV (64 pixels and a label) with onnxruntime, for comparison.

Usage: evaluate.py MODEL.onnx ROWS.csv; prints {"label": […], "probabilities": [[…], …]}.
"""

import json
import sys

import numpy as np
import onnxruntime

model, rows = sys.argv[1:]
pixels = np.loadtxt(rows, delimiter=",", skiprows=1, dtype=np.float32)[:, :64]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
label, probabilities = session.run(["label", "probabilities"], {"pixels": pixels})
json.dump({"label": label.tolist(), "probabilities": probabilities.tolist()}, sys.stdout)
