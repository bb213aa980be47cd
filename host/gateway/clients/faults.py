"""Sends wrong requests to a gateway: a client's fault is a 4xx with a reason, never a 5xx, and a wrong
request is never a 200. Usage: faults.py URL"""

import gzip
import http.client
import json
import struct
import sys
import zlib
from urllib.parse import urlsplit

host = urlsplit(sys.argv[1]).netloc
INFER = "/v2/models/add-fp32/infer"
GOOD = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
failures = []


def send(method, path, body=b"", headers={}):
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def expect(status, what, *request):
    found, headers, body = send(*request)
    reason = ""
    if found >= 400:
        try:
            reason = json.loads(body)["error"]
        except Exception as error:
            reason = ""
            failures.append(f"{what}: no reason in {body[:80]} ({error})")
    if found != status:
        failures.append(f"{what}: {found} instead of {status}: {reason or body[:80]}")
    return headers, body


def changed(**fields):
    tensor = {**GOOD["inputs"][0], **fields}
    return {"inputs": [{name: value for name, value in tensor.items() if value is not None}]}


def post(what, status, value, headers={}):
    body = value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    return expect(status, what, "POST", INFER, body, headers)


post("good", 200, GOOD)
for what, value in {
    "empty": "", "cut off": "{", "an array": "[]", "trailing": json.dumps(GOOD) + "x", "no JSON": "hello", "not UTF-8": b"\xff\xfe",
    "no inputs": {}, "inputs null": {"inputs": None}, "inputs empty": {"inputs": []}, "inputs an object": {"inputs": {}},
    "id a number": {**GOOD, "id": 7}, "parameters an array": {**GOOD, "parameters": []},
    "reserved parameter": {**GOOD, "parameters": {"triton_x": 1}}, "parameter null": {**GOOD, "parameters": {"a": None}},
    "unknown output": {**GOOD, "outputs": [{"name": "q"}]}, "output without a name": {**GOOD, "outputs": [{}]},
    "duplicate input": {"inputs": GOOD["inputs"] * 2},
    "extra input": {"inputs": [*GOOD["inputs"], {"name": "z", "shape": [1], "datatype": "FP32", "data": [1]}]},
    "no name": changed(name=None), "no shape": changed(shape=None), "no datatype": changed(datatype=None), "no data": changed(data=None),
    "name a number": changed(name=1), "unknown name": changed(name="q"), "data a number": changed(data=1), "data an object": changed(data={}),
    "negative dim": changed(shape=[-1, 2]), "float dim": changed(shape=[1.0, 2]), "string dim": changed(shape=["1", 2]),
    "huge dim": changed(shape=[2**62, 2**62]), "too large dim": changed(shape=[2**70, 2]), "wrong shape": changed(shape=[1, 3], data=[1, 2, 3]),
    "wrong rank": changed(shape=[2]), "wrong datatype": changed(datatype="FP64"), "unknown datatype": changed(datatype="FP33"),
    "lower case": changed(datatype="fp32"), "too few": changed(data=[1]), "too many": changed(data=[1, 2, 3]),
    "ragged": changed(shape=[2, 2], data=[[1, 2, 3], [4]]), "a string": changed(data=[1, "a"]), "null in whole numbers": {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [None]}]},
    "a boolean": changed(data=[1, True]), "out of range": json.dumps(changed(data=[1, 7])).replace("7", "1e400"),
    "both data and binary": changed(parameters={"binary_data_size": 8}), "binary without a header": changed(data=None, parameters={"binary_data_size": 8}),
    "shared memory": changed(data=None, parameters={"shared_memory_region": "r", "shared_memory_byte_size": 8}),
    "deep": '{"inputs": ' + "[" * 100_000 + "]" * 100_000 + "}",
}.items():
    post(what, 400, value)
post("null is NaN", 200, changed(data=[1, None]))
post("NaN", 200, json.dumps(changed(data=[float("nan"), float("inf")])))
post("beyond FP32", 200, changed(data=[1e300, -1e300]))
post("unknown fields", 200, {**GOOD, "more": {"of": [1]}})
post("outputs empty", 200, {**GOOD, "outputs": []})

head = json.dumps(changed(data=None, parameters={"binary_data_size": 8})).encode()
tensor = struct.pack("<2f", 1, 2)
length = {"Inference-Header-Content-Length": str(len(head))}
post("binary", 200, head + tensor, length)
post("raw binary", 200, tensor, {"Inference-Header-Content-Length": "0"})
for what, body, header in [
    ("longer than the body", head, "99999"), ("negative", head + tensor, "-1"), ("no number", head + tensor, "x"), ("fraction", head + tensor, "1.5"),
    ("too few bytes", head + tensor[:7], str(len(head))), ("too many bytes", head + tensor + b"x", str(len(head))),
    ("raw of a wrong length", tensor[:7], "0"),
]:
    post(f"binary, {what}", 400, body, {"Inference-Header-Content-Length": header})

good = json.dumps(GOOD).encode()
post("gzip", 200, gzip.compress(good), {"Content-Encoding": "gzip"})
post("deflate", 200, zlib.compress(good), {"Content-Encoding": "deflate"})
post("gzip that is none", 400, good, {"Content-Encoding": "gzip"})
post("unknown coding", 415, good, {"Content-Encoding": "br"})
post("a bomb", 413, gzip.compress(b" " * (65 << 20)), {"Content-Encoding": "gzip"})

for what, status, method, path in [
    ("unknown model", 404, "POST", "/v2/models/none/infer"), ("unknown model's metadata", 404, "GET", "/v2/models/none"),
    ("unknown model's readiness", 404, "GET", "/v2/models/none/ready"), ("unknown model's statistics", 404, "GET", "/v2/models/none/stats"),
    ("unknown version", 404, "POST", "/v2/models/add-fp32/versions/99/infer"), ("version no number", 404, "GET", "/v2/models/add-fp32/versions/x"),
    ("unknown route", 404, "GET", "/v3"), ("wrong method", 405, "GET", INFER), ("wrong method", 405, "DELETE", "/v2"),
    ("load of an unknown model", 404, "POST", "/v2/repository/models/none/load"),
    ("unload of an unknown model", 404, "POST", "/v2/repository/models/none/unload"),
]:
    headers, _ = expect(status, f"{what} {path}", method, path, good if path.endswith("infer") else b"")
    if status == 405 and not headers.get("Allow"):
        failures.append(f"{what}: no Allow")
headers, _ = post("ids", 400, "{")
if not headers.get("Eyot-Prediction-Id"):
    failures.append("a refused prediction has no id")

sys.exit("faults:\n  " + "\n  ".join(failures) if failures else print("faults: ok"))
