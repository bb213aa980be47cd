"""Requests and responses over HTTP."""

import json
import os
import sys

from eyot_errors import FAILURES, InvalidInput, place_of, plain, show, told
from eyot_values import Err, Ok, contract, count, handed

# Two interfaces of the same name have their package's before it.
_http, _streams = contract("wasi_http_types", "types"), contract("streams")


class Request:
    """A request over HTTP: its method, its path with the query, its headers by lower-case name, and its body,
    which is read once."""

    def __init__(self, method="GET", path="/", headers=None, body=b""):
        self.method, self.path = method, path
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self._pieces = iter([body.encode() if isinstance(body, str) else body])

    def chunks(self):
        """The body piece by piece as it comes, so that memory stays small."""
        return self._pieces

    def bytes(self):
        """All of the body."""
        return b"".join(self.chunks())

    def text(self):
        """All of the body as text."""
        return self._read("text", bytes.decode)

    def json(self):
        """All of the body as JSON."""
        return self._read("JSON", json.loads)

    def _read(self, what, read):
        try:
            return read(self.bytes())
        except ValueError as error:
            raise InvalidInput(f"the body is no {what}: {error}") from None

    @classmethod
    def _from_wit(cls, inner):
        method = inner.method()
        # The methods that everybody knows are classes of their names.
        name = getattr(method, "value", None) or type(method).__name__.removeprefix("Method_").upper()
        headers = {}
        for field, value in inner.headers().entries():
            text = value.decode("latin-1")
            name_of, join = field.lower(), "; " if field.lower() == "cookie" else ", "
            headers[name_of] = f"{headers[name_of]}{join}{text}" if name_of in headers else text
        request = cls(name, inner.path_with_query() or "/", headers)
        request._pieces = _received(inner)
        return request


def _received(request, length=1 << 16):
    """The body of a request, piece by piece. Its stream is a child of the body, and that of the request."""
    with request.consume() as body, body.stream() as stream:
        while True:
            try:
                yield stream.blocking_read(length)
            except Err as error:
                if isinstance(error.value, _streams.StreamError_Closed):
                    return
                raise RuntimeError(f"the request broke off: {error.value.value.to_debug_string()}") from None


class Response:
    """A response over HTTP. A body of several pieces, such as a generator's, is sent as they come."""

    def __init__(self, body=b"", status=200, headers=None):
        self.body, self.status, self.headers = body, status, dict(headers or {})

    @classmethod
    def json(cls, value, status=200):
        """A value as JSON."""
        return cls(json.dumps(value), status, {"content-type": "application/json"})

    def _pieces(self):
        whole = isinstance(self.body, (str, bytes, bytearray, memoryview))
        if isinstance(self.body, dict) or not whole and not hasattr(self.body, "__iter__"):
            kind = type(self.body).__name__
            raise TypeError(f"the body of a response is of type {kind}, and a text, bytes or pieces of them are wanted")
        return map(_octets, [self.body] if whole else self.body)

    def _head(self):
        """The response without its body; what is wrong with it shows before anything is sent."""
        response = _http.OutgoingResponse(_fields(self.headers))
        try:
            response.set_status_code(count(self.status, "the status of a response", 999))
        except Err:
            raise ValueError(f"{self.status} is no status of a response") from None
        return response


def _send(out, head, pieces):
    """Answers. What goes wrong once it has begun ends the component with its words: half an answer must not look
    whole."""
    body = head.body()
    _http.ResponseOutparam.set(out, Ok(head))
    try:
        with body.write() as stream:
            for piece in pieces:
                _write(stream, piece)
    except Err:
        return  # Nobody listens any more.
    except FAILURES as error:
        show(error)
        print(told(error), file=sys.stderr, flush=True)
        os._exit(1)
    _http.OutgoingBody.finish(body, None)


def _octets(piece):
    if isinstance(piece, str):
        return piece.encode()
    return handed(bytes, piece, "a piece of a response's body")


def _fields(headers):
    """Headers one by one: a list is several of one name."""
    several = ((name, value if isinstance(value, (list, tuple)) else [value]) for name, value in headers.items())
    fields = _http.Fields()
    for name, values in several:
        for value in values:
            try:
                fields.append(handed(str, name, "the name of a header"), str(value).encode("latin-1"))
            except (Err, UnicodeEncodeError):
                raise ValueError(f"header {name!r} cannot be {value!r}") from None
    return fields


def _write(stream, piece):
    """Writes bytes as fast as they are taken, and has them sent at once."""
    while piece:
        room = stream.check_write()
        if room == 0:
            with stream.subscribe() as ready:
                ready.block()
            continue
        stream.write(piece[:room])
        piece = piece[room:]
    stream.blocking_flush()


def http(function):
    """Makes a function the component's answer to requests over HTTP: a Request in, a Response out. InvalidInput is
    a 400 with its text, any other exception a 500."""
    if Err is None:
        return function

    at = place_of(function)

    def called(request):
        try:
            response = function(Request._from_wit(request))
            if not isinstance(response, Response):
                kind = type(response).__name__
                raise TypeError(f"what {function.__name__} gives is of type {kind}, and an eyot.Response is wanted")
            return response
        except InvalidInput as error:
            return Response(plain(str(error)) + "\n", 400)

    class IncomingHandler:
        def handle(self, request, response_out):
            try:
                response = called(request)
                head, pieces = response._head(), response._pieces()
            except FAILURES as error:
                show(error)
                response = Response(plain(told(error, at, before="\n")) + "\n", 500)
                head, pieces = response._head(), response._pieces()
            _send(response_out, head, pieces)

    sys.modules[function.__module__].IncomingHandler = IncomingHandler
    return function
