"""Drives two revisions of one deployment with Triton's clients. Usage: revisions.py URL"""

import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http

URL = sys.argv[1].split("://", 1)[-1].rstrip("/")
CLIENTS = [(http, http.InferenceServerClient(URL)), (grpc, grpc.InferenceServerClient(URL))]
ROW = np.array([[1, 2]], "float32")
# What each revision makes of the row.
ANSWERS = {"1": [[2, 3]], "2": [[0, 0]]}


def check(what, true):
    if not true:
        sys.exit(f"revisions: {what}")


def ask(module, client, **more):
    """Which revision answers, by its answer; it says the same itself."""
    tensor = module.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(ROW)
    result = client.infer("split", [tensor], **more)
    answer = result.as_numpy("y").tolist()
    found = [version for version, expected in ANSWERS.items() if expected == answer]
    check(f"an answer of no revision: {answer}", found)
    response = result.get_response()
    said = response["model_version"] if isinstance(response, dict) else response.model_version
    check(f"revision {found[0]} calls itself {said}", said == found[0])
    return found[0]


def of_user(module, client, user):
    """Twice by header, once by a parameter of the request: the same revision."""
    found = {ask(module, client, headers={"x-user": user}) for _ in range(2)}
    found.add(ask(module, client, parameters={"x-user": user}))
    check(f"user {user} was answered by revisions {found}", len(found) == 1)
    return found.pop()


for module, client in CLIENTS:
    for version in ANSWERS:
        check(f"version {version}", ask(module, client, model_version=version) == version)
users = [f"user {number}" for number in range(40)]
seen = [[of_user(module, client, user) for user in users] for module, client in CLIENTS]
check("REST and gRPC send a user to other revisions", seen[0] == seen[1])
check(f"one revision answers all: {seen[0]}", set(seen[0]) == set(ANSWERS))

# Without a user, half of the requests go to each.
counts = [ask(*CLIENTS[0]) for _ in range(100)]
check(f"of 100 requests revision 2 answered {counts.count('2')}", 30 <= counts.count("2") <= 70)
print("revisions: ok")
