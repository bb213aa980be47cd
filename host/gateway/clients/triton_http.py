"""Drives a gateway with Triton's HTTP client. Usage: triton_http.py URL"""

import sys

import ml_dtypes
import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

URL = sys.argv[1].split("://", 1)[-1].rstrip("/")
client = http.InferenceServerClient(URL)


def check(what, true):
    if not true:
        sys.exit(f"triton_http: {what}")


def samples():
    yield "bool", "BOOL", np.array([True, False, True])
    for size in (8, 16, 32, 64):
        yield f"int{size}", f"INT{size}", np.array([-1, 0, 7], f"int{size}")
        yield f"uint{size}", f"UINT{size}", np.array([1, 0, 7], f"uint{size}")
    yield "fp16", "FP16", np.array([1.5, -2, 0], "float16")
    yield "fp32", "FP32", np.array([1.5, np.inf, -2], "float32")
    yield "fp64", "FP64", np.array([1.5, 1e300, -2], "float64")
    yield "string", "BYTES", np.array([b"a", b"", "é".encode()], dtype=object)


def infer(model, name, datatype, array, binary_in, binary_out, **more):
    tensor = http.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array, binary_data=binary_in)
    outputs = [http.InferRequestedOutput("y", binary_data=binary_out)]
    # JSON has no words for numbers that are not finite: they are null where nobody asks for them.
    parameters = None if binary_out else {"allow_nan": True}
    return client.infer(model, [tensor], outputs=outputs, request_id="7", parameters=parameters, **more)


check("not live", client.is_server_live())
check("not ready", client.is_server_ready())
server = client.get_server_metadata()
check(f"server metadata: {server}", server["name"] == "eyot" and "binary_tensor_data" in server["extensions"])

ready = {model["name"] for model in client.get_model_repository_index() if model["state"] == "READY"}
for label, datatype, array in samples():
    model = f"same-{label}"
    check(f"{model} is not deployed", model in ready)
    check(f"{model} is not ready", client.is_model_ready(model))
    # The client itself sends FP16 only as binary.
    for binary_in in (True,) if datatype == "FP16" else (True, False):
        for binary_out in (True, False):
            result = infer(model, "x", datatype, array, binary_in, binary_out)
            check(f"{model}: id", result.get_response()["id"] == "7")
            found = result.as_numpy("y")
            if found.dtype == object:
                found = np.array([it if isinstance(it, bytes) else it.encode() for it in found], dtype=object)
            check(f"{model} {binary_in} {binary_out}: {found}", np.array_equal(found, array))

bf16 = http.InferInput("x", [3], "BF16")
bf16.set_data_from_numpy(np.array([1.5, -2, 0], ml_dtypes.bfloat16))
found = client.infer("same-bf16", [bf16]).as_numpy("y")
check(f"same-bf16: {found}", found.tolist() == [1.5, -2, 0])

large = np.arange(20000, dtype="float32").reshape(-1, 2)
for request in (None, "gzip", "deflate"):
    for response in (None, "gzip", "deflate"):
        for binary in (True, False):
            result = infer("add-fp32", "x", "FP32", large, binary, binary, request_compression_algorithm=request, response_compression_algorithm=response)
            check(f"compressed {request} {response} {binary}", np.array_equal(result.as_numpy("y"), large + 1))

# Without requested outputs all are answered, as binary; so the client asks.
plain = http.InferInput("x", [1, 2], "FP32")
plain.set_data_from_numpy(np.array([[1, 2]], "float32"))
result = client.infer("add-fp32", [plain], parameters={"mine": "yes", "count": 3})
check("no outputs named", result.as_numpy("y").tolist() == [[2, 3]])
classes = client.infer("add-fp32", [plain], outputs=[http.InferRequestedOutput("y", class_count=1)])
check(f"classes: {classes.as_numpy('y')}", classes.as_numpy("y").tolist() == [[b"3.000000:1"]])
pending = [client.async_infer("add-fp32", [plain]) for _ in range(8)]
check("asynchronous", all(one.get_result().as_numpy("y").tolist() == [[2, 3]] for one in pending))

metadata = client.get_model_metadata("add-fp32")
check(f"metadata: {metadata}", metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}])
version = metadata["versions"][0]
check("version", client.infer("add-fp32", [plain], model_version=version).as_numpy("y").tolist() == [[2, 3]])
check("config", client.get_model_config("add-fp32")["input"][0]["data_type"] == "TYPE_FP32")
stats = client.get_inference_statistics("add-fp32")["model_stats"][0]
check(f"statistics: {stats}", stats["inference_stats"]["success"]["count"] > 0 and stats["version"] == version)
check("all statistics", len(client.get_inference_statistics()["model_stats"]) >= len(ready))

wrong = http.InferInput("x", [1, 3], "FP32")
wrong.set_data_from_numpy(np.zeros((1, 3), "float32"))
for what, call in [
    ("a wrong shape", lambda: client.infer("add-fp32", [wrong])),
    ("an unknown model", lambda: client.infer("none", [plain])),
    ("an unknown version", lambda: client.infer("add-fp32", [plain], model_version="99")),
    ("an unknown output", lambda: client.infer("add-fp32", [plain], outputs=[http.InferRequestedOutput("q")])),
    ("an unknown model's metadata", lambda: client.get_model_metadata("none")),
]:
    try:
        call()
        sys.exit(f"triton_http: {what} was answered")
    except InferenceServerException as error:
        # The client reads {"error": …}; anything else is a message about JSON.
        check(f"{what}: {error}", error.status() in ("400", "404") and "decod" not in error.message().lower())
check("an unknown model is ready", not client.is_model_ready("none"))

client.unload_model("same-int8")
check("unloaded and ready", not client.is_model_ready("same-int8"))
client.load_model("same-int8")
check("loaded and not ready", client.is_model_ready("same-int8"))
print("triton_http: ok")
