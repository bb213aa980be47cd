"""Handlers, functions and steps for Eyot in Python.

A handler is a function from tensors to tensors, with its signature in the decorator:

    import eyot

    @eyot.handler(inputs=["x: FP32[-1]"], outputs=["y: FP32[-1]"])
    def double(x):
        return {"y": [2 * value for value in x.values()]}

A function, or a step of a pipeline, is a function with annotations; `eyot build` makes its WIT of them:

    @eyot.function
    def count(file: eyot.Artifact, skip: int) -> int:
        return len(file.text().splitlines()) - skip

Either may be an `async def`. A component that serves then has several inferences under way:

    one, other = await asyncio.gather(first.infer_async([x]), second.infer_async([x]))

What answers HTTP is a function from a request to a response:

    @eyot.http
    def greet(request: eyot.Request) -> eyot.Response:
        return eyot.Response("Hello!")

This module lives inside of the component. `eyot build` puts it there; nothing is to be installed. Outside, in the
package that pip installs, it has `eyot.Client` beside, which asks a server (`eyot_client`).
"""

import importlib
import inspect
import math
import struct
import sys

from eyot_errors import FAILURES, InvalidInput, place_of, plain, show, told
from eyot_http import Request, Response, http
from eyot_values import Err, contract, count, handed, inward, outward, snake

# Two interfaces of the same name have their package's before it.
_types = contract("eyot_ml_types", "types")
_models, _artifacts, _tracking = map(contract, ("models", "artifacts", "tracking"))
_models_async = contract("models_async")

__all__ = [
    "Artifact", "InvalidInput", "Model", "Request", "Response", "Tensor", "Writer",
    "function", "handler", "http", "log_metric", "log_param", "set_tag",
]

# The name of each type in the Open Inference Protocol, and its letter for `memoryview.cast`; None where
# Python has no such number.
_FORMATS = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h",
    "INT32": "i", "INT64": "q", "FP16": None, "BF16": None, "FP32": "f", "FP64": "d", "BYTES": None,
}
_CASES = {"BOOL": "BOOLEAN"}


class Tensor:
    """A named tensor: dense, row-major, little-endian bytes."""

    def __init__(self, name, dtype, shape, data):
        if dtype not in _FORMATS:
            raise ValueError(f"'{dtype}' is no datatype; datatypes are {', '.join(_FORMATS)}")
        self.name, self.dtype, self.shape, self.data = name, dtype, tuple(shape), data

    @classmethod
    def of(cls, name, dtype, shape, values):
        """A tensor of numbers, booleans, or for BYTES of texts or bytes."""
        if dtype == "BYTES":
            encoded = [value.encode() if isinstance(value, str) else bytes(value) for value in values]
            return cls(name, dtype, shape, b"".join(struct.pack("<I", len(one)) + one for one in encoded))
        values = [_bfloat(value) for value in values] if dtype == "BF16" else list(values)
        letter = {"FP16": "e", "BF16": "H"}.get(dtype) or _FORMATS.get(dtype)
        if letter is None:
            raise ValueError(f"'{dtype}' is no datatype; datatypes are {', '.join(_FORMATS)}")
        return cls(name, dtype, shape, struct.pack(f"<{len(values)}{letter}", *values))

    def values(self):
        """The elements: a memoryview over the bytes without a copy where Python has such a number,
        else a list."""
        if self.dtype == "BYTES":
            return self._texts()
        if self.dtype == "FP16":
            return list(struct.unpack(f"<{len(self.data) // 2}e", self.data))
        if self.dtype == "BF16":
            halves = memoryview(self.data).cast("H")
            return list(struct.unpack(f"<{len(halves)}f", b"".join(struct.pack("<I", half << 16) for half in halves)))
        return memoryview(self.data).cast(_FORMATS[self.dtype])

    def texts(self):
        """The elements of a BYTES tensor, decoded."""
        return [element.decode() for element in self._texts()]

    def _texts(self):
        elements, offset = [], 0
        while offset < len(self.data):
            (length,) = struct.unpack_from("<I", self.data, offset)
            elements.append(bytes(self.data[offset + 4 : offset + 4 + length]))
            offset += 4 + length
        return elements

    def _to_wit(self):
        case = getattr(_types.Dtype, _CASES.get(self.dtype, self.dtype))
        name = handed(str, self.name, "the name of a tensor")
        shape = [count(size, f"a dimension of tensor '{name}'") for size in self.shape]
        return _types.Tensor(name, case, shape, handed(bytes, self.data, f"the data of tensor '{name}'"))

    @classmethod
    def _from_wit(cls, tensor):
        name = {case: name for name, case in _CASES.items()}.get(tensor.dtype.name, tensor.dtype.name)
        return cls(tensor.name, name, tensor.shape, tensor.data)


def _bfloat(value):
    """The upper half of an FP32, rounded to the nearest, ties to even."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    if math.isnan(value):
        return (bits >> 16) | 0x40
    return min((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, 0xFFFF)


class Model:
    """A model that the host runs."""

    def __init__(self, inner):
        self._inner = inner

    @classmethod
    def open(cls, name):
        """A model that the deployment grants under `name`."""
        return cls(_host(_models.Model.open, handed(str, name, "the name of a model")))

    @classmethod
    def load(cls, weights):
        """A model that is an artifact of the running pipeline: the bytes of an ONNX file."""
        if not isinstance(weights, Artifact):
            raise TypeError(f"the weights of a model are of type {type(weights).__name__}, and an eyot.Artifact is wanted")
        return cls(_host(_models.Model.load, weights._inner))

    def infer(self, inputs):
        """Runs it once. Inputs are matched by name; answers all outputs by name, in the model's order."""
        outputs = _host(self._inner.infer, [tensor._to_wit() for tensor in inputs])
        return {tensor.name: Tensor._from_wit(tensor) for tensor in outputs}

    async def infer_async(self, inputs):
        """Runs it once, in a component that serves; while the model works the component goes on. To be awaited:
        componentize-py 0.25 cannot take it back, and ends a component that tries."""
        try:
            outputs = await _models_async.infer(self._inner, [tensor._to_wit() for tensor in inputs])
        except Err as error:
            raise _raised(error) from None
        return {tensor.name: Tensor._from_wit(tensor) for tensor in outputs}


class Artifact:
    """A content-addressed file that a step was handed, or has written."""

    def __init__(self, inner):
        self._inner = inner

    digest = property(lambda self: self._inner.digest(), doc="`sha256:` and 64 hexadecimal digits.")
    media_type = property(lambda self: self._inner.media_type(), doc="The media type given when it was written.")
    size = property(lambda self: self._inner.size(), doc="Its length in bytes.")

    def chunks(self, length=1 << 20):
        """Its bytes piece by piece, so that memory stays small."""
        offset, length = 0, count(length, "the length of a chunk")
        while chunk := _host(self._inner.read, offset, length):
            yield chunk
            offset += len(chunk)

    def bytes(self):
        """All of its bytes."""
        return b"".join(self.chunks())

    def text(self):
        """All of it as text."""
        return self.bytes().decode()

    @classmethod
    def write(cls, media_type, content):
        """Writes bytes or text as a new artifact."""
        writer = Writer(media_type)
        writer.write(content.encode() if isinstance(content, str) else content)
        return writer.finish()


class Writer:
    """Writes an artifact piece by piece: `write` appends bytes, `finish` makes it durable and gives it. Without
    `finish` it never existed."""

    def __init__(self, media_type):
        self._inner = _artifacts.Writer(handed(str, media_type, "a media type"))

    def write(self, chunk):
        _host(self._inner.write, handed(bytes, chunk, "what is written into an artifact"))

    def finish(self):
        return Artifact(_host(_artifacts.Writer.finish, self._inner))


def log_metric(key, value, step=0):
    """Records one point of a metric; `step` counts whatever you count, such as epochs."""
    key, step = handed(str, key, "the name of a metric"), handed(int, step, f"the step of metric '{key}'")
    _tracking.log_metric(key, float(value), step)


def log_param(key, value):
    """Records a parameter; its first value stays."""
    _tracking.log_param(handed(str, key, "the name of a parameter"), handed(str, str(value), f"parameter '{key}'"))


def set_tag(key, value):
    """Sets a tag, replacing an earlier value."""
    _tracking.set_tag(handed(str, key, "the name of a tag"), handed(str, str(value), f"tag '{key}'"))


def __getattr__(name):
    """What is there only outside of components."""
    if name in ("Client", "ServerError"):
        return getattr(importlib.import_module("eyot_client"), name)
    raise AttributeError(f"module 'eyot' has no attribute '{name}'")


def _host(call, *arguments):
    """Calls the host; its errors become exceptions with its words."""
    try:
        return call(*arguments)
    except Err as error:
        raise _raised(error) from None


def _raised(error):
    """The exception for an error of the host."""
    kind = InvalidInput if type(error.value).__name__ == "Error_InvalidInput" else RuntimeError
    return kind(str(getattr(error.value, "value", error.value)))


def _failed(error, at, invalid=str, internal=str):
    """The error that the caller hears for an exception of the app's function, which begins `at`."""
    if isinstance(error, InvalidInput):
        return Err(invalid(plain(str(error))))
    show(error)
    return Err(internal(plain(told(error, at))))


def _spec(text):
    name, _, rest = text.partition(":")
    dtype, _, shape = rest.strip().partition("[")
    dims = [int(dim) for dim in shape.rstrip(" ]").split(",") if dim.strip()]
    if not name or dtype not in _FORMATS or not rest.strip().endswith("]"):
        raise ValueError(f"'{text}' is no tensor; write \"name: FP32[-1, 4]\"")
    return name.strip(), dtype, dims


def handler(inputs, outputs):
    """Makes a function, or an `async def`, the component's handler. It takes the input tensors by name, and gives a dict of
    outputs: a Tensor, or plain values for an output with one variable dimension at most."""
    taken, given = [_spec(one) for one in inputs], [_spec(one) for one in outputs]

    def decorate(function):
        if Err is None:
            return function
        at = place_of(function)

        def named(tensors):
            return {tensor.name: Tensor._from_wit(tensor) for tensor in tensors}

        class Handler:
            def describe(self):
                return _types.Signature([_wit_spec(one) for one in taken], [_wit_spec(one) for one in given])

            def predict(self, tensors):
                try:
                    answer = function(**named(tensors))
                    return [tensor._to_wit() for tensor in _outputs(given, answer)]
                except FAILURES as error:
                    raise _failed(error, at, _types.Error_InvalidInput, _types.Error_Internal) from None

        class HandlerAsync(Handler):
            async def predict(self, tensors):
                try:
                    answer = await function(**named(tensors))
                    return [tensor._to_wit() for tensor in _outputs(given, answer)]
                except FAILURES as error:
                    raise _failed(error, at, _types.Error_InvalidInput, _types.Error_Internal) from None

        exported = Handler
        if inspect.iscoroutinefunction(function):
            exported = HandlerAsync
            _started(exported, "predict")
        setattr(sys.modules[function.__module__], exported.__name__, exported)
        return function

    return decorate


def _wit_spec(spec):
    return _types.TensorSpec(spec[0], getattr(_types.Dtype, _CASES.get(spec[1], spec[1])), spec[2])


def _outputs(specs, answer):
    """The outputs of a handler as tensors."""
    if not isinstance(answer, dict):
        raise TypeError(f"what the handler gives is of type {type(answer).__name__}, and a dict of outputs is wanted")
    return [_output(spec, answer) for spec in specs]


def _output(spec, answer):
    name, dtype, shape = spec
    if name not in answer:
        raise KeyError(f"the handler gave no output '{name}'")
    value = answer[name]
    if isinstance(value, Tensor):
        return value
    if shape.count(-1) > 1:
        raise ValueError(f"output '{name}' has several variable dimensions: give a Tensor")
    known = math.prod(dim for dim in shape if dim >= 0)
    try:
        values = list(value)
        sizes = [dim if dim >= 0 else len(values) // max(known, 1) for dim in shape]
        return Tensor.of(name, dtype, sizes, values)
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise TypeError(f"output '{name}' is {dtype}, and something else was given: {error}") from None


def function(function):
    """Exports a function with annotations, or an `async def` with them: over HTTP as a typed function, in a pipeline as a step."""
    if Err is None:
        return function
    module = sys.modules[function.__module__]
    exported = module.__dict__.setdefault("Functions", type("Functions", (), {}))
    wanted = inspect.get_annotations(function, eval_str=True)

    parameters = inspect.signature(function).parameters.values()
    at = place_of(function)

    def taken(arguments):
        for parameter, value in zip(parameters, arguments):
            defaulted = value is None and parameter.default is not inspect.Parameter.empty
            yield parameter.default if defaulted else inward(wanted.get(parameter.name), value, Artifact)

    def given(value):
        return outward(wanted.get("return"), value, f"what {function.__name__} gives", Artifact)

    def call(self, *arguments):
        try:
            return given(function(*taken(arguments)))
        except FAILURES as error:
            raise _failed(error, at) from None

    async def call_async(self, *arguments):
        try:
            return given(await function(*taken(arguments)))
        except FAILURES as error:
            raise _failed(error, at) from None

    name = snake(function.__name__)
    is_async = inspect.iscoroutinefunction(function)
    setattr(exported, name, call_async if is_async else call)
    if is_async:
        _started(exported, name)
    return function


def _started(exported, name):
    """Gives a class what starts its asynchronous method: componentize-py makes it, in a class of that name."""
    contract = getattr(importlib.import_module("wit_world.exports"), exported.__name__)
    setattr(exported, f"_async_start_{name}", getattr(contract, f"_async_start_{name}"))
