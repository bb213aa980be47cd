"""What passes through a model is each client's own, by every door. Usage: passing.py URL MODEL...

The models give `x`, FP32 [n, m], back as `x` and as `y`. Two clients a door, whose numbers differ, ask at the same
time and look at an answer once the next one is there.
"""

import sys
import threading

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http

URL = sys.argv[1].split("://", 1)[-1].rstrip("/")
MODELS = sys.argv[2:]
# More than a back end copies anyway, and much more; in numbers of four bytes.
SIZES = (1_500, 200_000)
ROUNDS = 5


def numbers(client, turn, size):
    return np.full((1, size), client * 1000 + turn, "float32") + np.arange(size, dtype="float32") / 2**18


def over_http(binary):
    connection = http.InferenceServerClient(URL)

    def ask(model, array):
        tensor = http.InferInput("x", list(array.shape), "FP32")
        tensor.set_data_from_numpy(array, binary_data=binary)
        outputs = [http.InferRequestedOutput(name, binary_data=binary) for name in ("x", "y")]
        return connection.infer(model, [tensor], outputs=outputs)

    return ask


def over_grpc():
    connection = grpc.InferenceServerClient(URL)

    def ask(model, array):
        tensor = grpc.InferInput("x", list(array.shape), "FP32")
        tensor.set_data_from_numpy(array)
        return connection.infer(model, [tensor])

    return ask


DOORS = {"JSON": lambda: over_http(False), "binary": lambda: over_http(True), "gRPC": over_grpc}
wrong = []


def one_client(door, client):
    # Triton's HTTP client is of one thread.
    ask = DOORS[door]()
    for model in MODELS:
        for size in SIZES:
            last = None
            for turn in range(ROUNDS):
                answer = ask(model, numbers(client, turn, size))
                for asked, told in [pair for pair in (last, (turn, answer)) if pair]:
                    for output in ("x", "y"):
                        found = told.as_numpy(output)
                        if not np.array_equal(found, numbers(client, asked, size)):
                            wrong.append(f"{door} {model} {output} of {size}: client {client} got {found.ravel()[:3]} in turn {asked}")
                last = (turn, answer)


def guarded(door, client):
    try:
        one_client(door, client)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
        wrong.append(f"{door}: {error!r}")


clients = [threading.Thread(target=guarded, args=(door, client)) for client, door in enumerate([*DOORS, *DOORS])]
for thread in clients:
    thread.start()
for thread in clients:
    thread.join()
if wrong:
    sys.exit("passing: " + "; ".join(wrong[:5]))
