"""Drives a gateway with Triton's gRPC client. Usage: triton_grpc.py URL"""

import asyncio
import queue
import sys

import grpc
import ml_dtypes
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as aio
from tritonclient.utils import InferenceServerException

URL = sys.argv[1].split("://", 1)[-1].rstrip("/")
client = triton.InferenceServerClient(URL)


def check(what, true):
    if not true:
        sys.exit(f"triton_grpc: {what}")


def tensor(array, datatype, name="x", module=triton):
    made = module.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


check("not live", client.is_server_live())
check("not ready", client.is_server_ready())
check("metadata", client.get_server_metadata().name == "eyot")
samples = [("bool", "BOOL", np.array([True, False, True])), ("string", "BYTES", np.array([b"a", b"", "é".encode()], dtype=object))]
samples += [(f"int{size}", f"INT{size}", np.array([-1, 0, 7], f"int{size}")) for size in (8, 16, 32, 64)]
samples += [(f"uint{size}", f"UINT{size}", np.array([1, 0, 7], f"uint{size}")) for size in (8, 16, 32, 64)]
samples += [(f"fp{size}", f"FP{size}", np.array([1.5, np.nan, -2], f"float{size}")) for size in (16, 32, 64)]
samples += [("bf16", "BF16", np.array([1.5, 0, -2], ml_dtypes.bfloat16))]
for label, datatype, array in samples:
    found = client.infer(f"same-{label}", [tensor(array, datatype)]).as_numpy("y")
    same = np.array_equal(found, array, equal_nan=datatype.startswith("FP"))
    check(f"same-{label}: {found}", same)

# Larger than gRPC's usual limit of 4 MB, both ways.
large = np.zeros((1_000_000, 2), "float32")
check("large", client.infer("add-fp32", [tensor(large, "FP32")]).as_numpy("y").shape == large.shape)
row = np.array([[1, 2]], "float32")
for algorithm in ("gzip", "deflate"):
    found = client.infer("add-fp32", [tensor(row, "FP32")], compression_algorithm=algorithm)
    check(algorithm, found.as_numpy("y").tolist() == [[2, 3]])
result = client.infer("add-fp32", [tensor(row, "FP32")], request_id="7", outputs=[triton.InferRequestedOutput("y", class_count=1)])
check("classes", result.as_numpy("y").tolist() == [[b"3.000000:1"]] and result.get_response().id == "7")

metadata = client.get_model_metadata("add-fp32")
check("model metadata", list(metadata.inputs[0].shape) == [-1, 2] and metadata.platform == "onnx")
check("config", client.get_model_config("add-fp32", as_json=True)["config"]["input"][0]["data_type"] == "TYPE_FP32")
stats = client.get_inference_statistics("add-fp32").model_stats[0]
check("statistics", stats.inference_stats.success.count > 0 and stats.version == metadata.versions[0])
check("index", any(model.name == "add-fp32" and model.state == "READY" for model in client.get_model_repository_index().models))

answers = queue.Queue()
client.start_stream(callback=lambda result, error: answers.put((result, error)))
for array in (row, np.zeros((1, 3), "float32"), row):
    client.async_stream_infer("add-fp32", [tensor(array, "FP32")])
results = [answers.get(timeout=30) for _ in range(3)]
client.stop_stream()
check(f"stream: {results}", [error is None for _, error in results] == [True, False, True])
check("stream: answers", results[2][0].as_numpy("y").tolist() == [[2, 3]])

client.start_stream(callback=lambda result, error: answers.put((result, error)))
client.async_stream_infer("add-fp32", [tensor(row, "FP32")], enable_empty_final_response=True)
result, error = answers.get(timeout=30)
client.stop_stream()
check(f"stream: final {error}", error is None and result.get_response().parameters["triton_final_response"].bool_param)

over = np.zeros((9_000_000, 2), "float32")
for what, code, call in [
    ("too large a message", "RESOURCE_EXHAUSTED", lambda: client.infer("add-fp32", [tensor(over, "FP32")])),
    ("a wrong shape", "INVALID_ARGUMENT", lambda: client.infer("add-fp32", [tensor(np.zeros((1, 3), "float32"), "FP32")])),
    ("a wrong type", "INVALID_ARGUMENT", lambda: client.infer("add-fp32", [tensor(np.zeros((1, 2)), "FP64")])),
    ("an unknown model", "NOT_FOUND", lambda: client.infer("none", [tensor(row, "FP32")])),
    ("an unknown version", "NOT_FOUND", lambda: client.infer("add-fp32", [tensor(row, "FP32")], model_version="99")),
    ("shared memory", "UNIMPLEMENTED", lambda: client.get_system_shared_memory_status()),
]:
    try:
        call()
        sys.exit(f"triton_grpc: {what} was answered")
    except InferenceServerException as error:
        check(f"{what}: {error.status()} {error}", error.status() == f"StatusCode.{code}" and error.message())
check("an unknown model is ready", not client.is_model_ready("none"))

client.unload_model("same-int8")
check("unloaded and ready", not client.is_model_ready("same-int8"))
client.load_model("same-int8")
check("loaded and not ready", client.is_model_ready("same-int8"))


async def concurrent():
    async with aio.InferenceServerClient(URL) as many:
        calls = [many.infer("add-fp32", [tensor(row + number, "FP32", module=aio)]) for number in range(64)]
        for number, result in enumerate(await asyncio.gather(*calls)):
            check(f"concurrent {number}", result.as_numpy("y").tolist() == (row + number + 1).tolist())


asyncio.run(concurrent())

# The standard health service, without generated code: field 1 of the answer is 1 when it serves.
with grpc.insecure_channel(URL) as channel:
    health = channel.unary_unary("/grpc.health.v1.Health/Check", lambda it: it, lambda it: it)
    check("health", health(b"") == b"\x08\x01")
print("triton_grpc: ok")
