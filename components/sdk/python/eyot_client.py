"""Predictions and calls of functions from outside, with nothing but Python's own library.

    import eyot

    client = eyot.Client("http://localhost:8080")
    outputs = client.infer("iris", [eyot.Tensor.of("X", "FP32", [1, 4], [5.1, 3.5, 1.4, 0.2])])
    outputs["label"].values()
    client.call("greeter", "greet", name="Ada")

This module is in the package that `pip` installs, not in components: those ask models through `eyot.Model`.
"""

import http.client
import json
import select
import threading
import urllib.parse

from eyot import Tensor

_HEADER_LENGTH = "Inference-Header-Content-Length"


class ServerError(RuntimeError):
    """What a server refused: `status` is that of HTTP, `value` what a function gave as its error, if it did."""

    def __init__(self, status, message, value=None):
        super().__init__(f"{message} (status {status})")
        self.status, self.message, self.value = status, message, value


class Client:
    """A data plane of Eyot. One client serves any number of threads; each has a connection, which is kept."""

    def __init__(self, url="http://localhost:8080", timeout=60.0, headers=None, context=None, token=None):
        """`url` may end in `/p/PROJECT`. `timeout` is in seconds; `context`, an `ssl.SSLContext`, says whom to trust
        behind https; `token` is shown to servers that ask who calls."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"'{url}' is no address of a server; write http://HOST:PORT")
        self._parts, self._timeout, self._context = parts, timeout, context
        self._headers = dict(headers or {})
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connections = threading.local()

    def infer(self, name, inputs, version=None, parameters=None):
        """Asks a deployment, with tensors as bytes. Answers its outputs by name, in its order."""
        described = [_described(tensor) for tensor in inputs]
        request = {"inputs": described, "parameters": {**(parameters or {}), "binary_data_output": True}}
        head = json.dumps(request).encode()
        body = b"".join([head, *(bytes(tensor.data) for tensor in inputs)])
        headers = {_HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
        answer, content = self._request("POST", f"{_model(name, version)}/infer", body, headers)
        length = int(answer.get(_HEADER_LENGTH, len(content)))
        outputs, offset = {}, length
        for output in json.loads(content[:length])["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            if size is None:
                tensor = Tensor.of(output["name"], output["datatype"], output["shape"], output["data"])
            else:
                data = content[offset : offset + size]
                tensor = Tensor(output["name"], output["datatype"], output["shape"], data)
                offset += size
            outputs[tensor.name] = tensor
        return outputs

    def metadata(self, name, version=None):
        """What a deployment takes and gives."""
        return json.loads(self._request("GET", _model(name, version))[1])

    def ready(self, name, version=None):
        """Whether a deployment serves."""
        try:
            self._request("GET", f"{_model(name, version)}/ready")
        except ServerError:
            return False
        return True

    def call(self, deployment, function, /, **arguments):
        """Calls a function of a component with arguments by name, and gives its result."""
        path = f"/fn/{_segment(deployment)}/{urllib.parse.quote(function)}"
        headers = {"Content-Type": "application/json"}
        content = self._request("POST", path, json.dumps(arguments).encode(), headers)[1]
        return json.loads(content) if content else None

    def close(self):
        """Closes this thread's connection; the next request opens another."""
        connection = self._connections.__dict__.pop("one", None)
        if connection:
            connection.close()

    def _request(self, method, path, body=None, headers=None):
        connection = self._connection()
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, body, {**self._headers, **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            # What comes next on this connection would be the answer to this request.
            self.close()
            raise
        if answer.status >= 400:
            raise _refused(answer.status, content)
        return answer.headers, content

    def _connection(self):
        """This thread's connection, or a new one where the server has closed it meanwhile."""
        kept = getattr(self._connections, "one", None)
        if kept and kept.sock and not _has_news(kept.sock):
            return kept
        self.close()
        if self._parts.scheme == "https":
            made = http.client.HTTPSConnection(self._parts.netloc, timeout=self._timeout, context=self._context)
        else:
            made = http.client.HTTPConnection(self._parts.netloc, timeout=self._timeout)
        self._connections.one = made
        return made


def _has_news(sock):
    """Whether there is something to read where nothing was asked for: the end, most likely."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _segment(name):
    return urllib.parse.quote(name, safe="")


def _model(name, version):
    return f"/v2/models/{_segment(name)}" + (f"/versions/{_segment(str(version))}" if version is not None else "")


def _described(tensor):
    return {
        "name": tensor.name, "datatype": tensor.dtype, "shape": list(tensor.shape),
        "parameters": {"binary_data_size": len(tensor.data)},
    }


def _refused(status, content):
    """The exception for a refusal: its own words, or those of a function's own error."""
    try:
        answer = json.loads(content)
    except ValueError:
        return ServerError(status, content.decode(errors="replace").strip() or "no reason was given")
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        return ServerError(status, answer["error"], answer["error"] if status == 422 else None)
    value = answer.get("error", answer) if isinstance(answer, dict) else answer
    return ServerError(status, json.dumps(value), value)
