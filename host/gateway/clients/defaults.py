"""What has a default may be left out or given, by every door. Usage: defaults.py URL MODEL

The model is y = x * scale + shift over FP32 [n, 2], where scale is 2 and shift [10, 20] unless they are given. Several
clients ask at the same time, some of whom give numbers of their own.
"""

import sys
import threading

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http

URL = sys.argv[1].split("://", 1)[-1].rstrip("/")
MODEL = sys.argv[2]
ROUNDS = 40
wrong = []


def ask(connection, client, library, inputs, binary):
    tensors = []
    for name, array in inputs.items():
        tensor = library.InferInput(name, list(array.shape), "FP32")
        tensor.set_data_from_numpy(array, **({} if library is grpc else {"binary_data": binary}))
        tensors.append(tensor)
    return connection.infer(MODEL, tensors).as_numpy("y")


def one_client(door, client):
    library = grpc if door == "gRPC" else http
    connection = library.InferenceServerClient(URL)
    for turn in range(ROUNDS):
        x = np.array([[client, turn], [turn, client]], "float32")
        inputs, scale, shift = {"x": x}, np.float32(2), np.array([10, 20], "float32")
        if client % 3:
            scale = inputs["scale"] = np.array(client + turn, "float32")
        if client % 2:
            shift = inputs["shift"] = np.array([client, -turn], "float32")
        found = ask(connection, client, library, inputs, door == "binary")
        if not np.array_equal(found, x * scale + shift):
            wrong.append(f"{door}: client {client} got {found.tolist()} for {inputs}")


def guarded(door, client):
    try:
        one_client(door, client)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
        wrong.append(f"{door}: {error!r}")


doors = ["JSON", "binary", "gRPC"] * 4
clients = [threading.Thread(target=guarded, args=(door, client)) for client, door in enumerate(doors)]
for thread in clients:
    thread.start()
for thread in clients:
    thread.join()

connection = http.InferenceServerClient(URL)
optional = {it["name"]: it.get("parameters", {}) for it in connection.get_model_metadata(MODEL)["inputs"]}
expected = {"x": {}, "shift": {"optional": True, "default": "[10, 20]"}, "scale": {"optional": True, "default": "2"}}
if optional != expected:
    wrong.append(f"the metadata has {optional}")
configured = {it["name"]: it.get("optional", False) for it in connection.get_model_config(MODEL)["input"]}
if configured != {"x": False, "shift": True, "scale": True}:
    wrong.append(f"the configuration has {configured}")
config = grpc.InferenceServerClient(URL).get_model_config(MODEL).config
if {it.name: it.optional for it in config.input} != configured:
    wrong.append(f"gRPC's configuration has {config}")
if wrong:
    sys.exit("defaults: " + "; ".join(wrong[:5]))
