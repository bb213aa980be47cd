"""Values of an app's functions across its boundary, both ways, as its annotations say."""

import dataclasses
import importlib
import keyword
import re
import types
import typing

try:
    from componentize_py_types import Err, Ok
except ImportError:  # Outside of a component, as in unit tests of one's own functions.
    Err = Ok = None

# What a whole number may be on the other side.
WHOLE = range(-(1 << 63), 1 << 63)


def contract(*names):
    """An interface by the first of its names that is there. A component has those that it uses; all are found
    when it is built."""
    for name in names:
        try:
            return importlib.import_module(f"wit_world.imports.{name}")
        except ImportError:
            pass


def snake(name):
    """The name that bindings give to what WIT calls get-score, and an app getScore: see `kebab` of describe.py."""
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", name).lower().split("_")
    joined = "_".join(word for word in words if word)
    return f"{joined}_" if keyword.iskeyword(joined) else joined


def wanted(annotation):
    """What an annotation asks for beside None, and whether None is as good."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        sides = [side for side in typing.get_args(annotation) if side is not type(None)]
        if len(sides) == 1:
            return sides[0], True
    return annotation, annotation in (None, type(None))


def inward(annotation, value, artifact):
    """A value as the app's function takes it: artifacts in their wrapper, records as its own dataclasses."""
    kind, _ = wanted(annotation)
    if value is None:
        return None
    if kind is artifact:
        return artifact(value)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return [inward(inner[0], item, artifact) for item in value]
    if origin is tuple:
        return tuple(inward(one, item, artifact) for one, item in zip(inner, value))
    if dataclasses.is_dataclass(kind):
        hints, given = typing.get_type_hints(kind), {}
        for field in dataclasses.fields(kind):
            item = getattr(value, snake(field.name))
            defaulted = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            if field.init and (item is not None or not defaulted):
                given[field.name] = inward(hints[field.name], item, artifact)
        return kind(**given)
    return value


def outward(annotation, value, where, artifact):
    """What a function gave, as it was promised. Whatever is something else is an exception that says where."""
    kind, may_be_none = wanted(annotation)
    if kind in (None, type(None)):
        return None
    if value is None:
        if may_be_none:
            return None
        raise TypeError(f"{where} is None, and {named(kind)} was promised")
    wrong = TypeError(f"{where} is of type {type(value).__name__}, and {named(kind)} was promised")
    if kind is artifact:
        if not isinstance(value, artifact):
            raise wrong
        return value._inner
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        if not isinstance(value, (list, tuple)):
            raise wrong
        return [outward(inner[0], item, f"{where}[{index}]", artifact) for index, item in enumerate(value)]
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or len(value) != len(inner):
            raise wrong
        return tuple(outward(one, item, f"{where}[{index}]", artifact) for index, (one, item) in enumerate(zip(inner, value)))
    if dataclasses.is_dataclass(kind):
        return record(kind, value, where, artifact, wrong)
    return scalar(kind, value, where, wrong)


def record(kind, value, where, artifact, wrong):
    hints, given = typing.get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        if not hasattr(value, field.name):
            raise wrong
        item = getattr(value, field.name)
        given[snake(field.name)] = outward(hints[field.name], item, f"{where}.{field.name}", artifact)
    return types.SimpleNamespace(**given)


def scalar(kind, value, where, wrong):
    if kind is int:
        if not isinstance(value, int):
            raise wrong
        if value not in WHOLE:
            raise OverflowError(f"{where} is {shown(value)}, and a whole number has 64 bits here")
        return int(value)
    if kind is float:
        if not isinstance(value, (int, float)):
            raise wrong
        try:
            return float(value)
        except OverflowError:
            raise OverflowError(f"{where} is {shown(value)}, which is too large for a float") from None
    if kind is bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise wrong
        return bytes(value)
    if kind in (bool, str) and not isinstance(value, kind):
        raise wrong
    if kind is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{where} is no text: it has half of a surrogate pair at {error.start}") from None
    return value


def shown(number):
    """A whole number, which may have any length."""
    return str(number) if number.bit_length() <= 96 else f"a number of {number.bit_length()} bits"


def handed(kind, value, what):
    """A value that the app hands to the host, where the host wants that kind of it."""
    return scalar(kind, value, what, TypeError(f"{what} is of type {type(value).__name__}, and {named(kind)} is wanted"))


def count(value, what, most=(1 << 64) - 1):
    """A whole number that the app hands to the host, where that has no sign."""
    if not isinstance(value, int):
        raise TypeError(f"{what} is of type {type(value).__name__}, and int is wanted")
    if not 0 <= value <= most:
        raise OverflowError(f"{what} is {shown(value)}, and it may be 0 to {most}")
    return int(value)


def named(kind):
    return getattr(kind, "__name__", None) if typing.get_origin(kind) is None else str(kind)
