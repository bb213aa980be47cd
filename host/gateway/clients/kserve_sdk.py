"""Drives a gateway with the clients of KServe's SDK. Usage: kserve_sdk.py URL"""

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

URL = sys.argv[1].rstrip("/")


def check(what, true):
    if not true:
        sys.exit(f"kserve_sdk: {what}")


def request(array, datatype, binary):
    tensor = InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name="add-fp32", infer_inputs=[tensor], request_id="7")


async def rest():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    check("not live", await client.is_server_live(URL))
    check("not ready", await client.is_server_ready(URL))
    check("model not ready", await client.is_model_ready(URL, "add-fp32"))
    row = np.array([[1, 2]], "float32")
    for binary in (True, False):
        answer = await client.infer(URL, request(row, "FP32", binary), model_name="add-fp32")
        found = answer.outputs[0].as_numpy()
        check(f"REST {binary}: {found}", found.tolist() == [[2, 3]] and answer.id == "7")
    long = np.zeros((4000, 2), "float32")
    answer = await client.infer(URL, request(long, "FP32", False), model_name="add-fp32")
    check("REST, compressed", answer.outputs[0].as_numpy().shape == long.shape)
    await client.close()


async def rpc():
    async with InferenceGRPCClient(URL.split("://", 1)[-1]) as client:
        check("gRPC: not live", await client.is_server_live())
        check("gRPC: not ready", await client.is_server_ready())
        check("gRPC: model not ready", await client.is_model_ready("add-fp32"))
        for binary in (True, False):
            answer = await client.infer(request(np.array([[1, 2]], "float32"), "FP32", binary))
            found = answer.outputs[0].as_numpy()
            check(f"gRPC {binary}: {found}", found.tolist() == [[2, 3]])


asyncio.run(rest())
asyncio.run(rpc())
print("kserve_sdk: ok")
