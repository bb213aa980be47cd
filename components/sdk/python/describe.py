"""Reads an app for `eyot build` without running it, and prints what it exports as JSON:

    {"handler": bool, "handler_async": bool, "http": bool, "functions": WIT of an interface or null, "imports": […],
     "error": text or null}

Usage: describe.py APP.py
"""

import ast
import json
import re
import sys

SCALARS = {"bool": "bool", "int": "s64", "float": "f64", "str": "string", "bytes": "list<u8>"}
# What of the SDK needs which contract.
IMPORTS = {
    "Model": "eyot:ml/models@0.1.0", "Artifact": "eyot:ml/artifacts@0.1.0", "Writer": "eyot:ml/artifacts@0.1.0",
    "infer_async": "eyot:ml/models-async@0.1.0",
    "log_metric": "eyot:ml/tracking@0.1.0", "log_param": "eyot:ml/tracking@0.1.0", "set_tag": "eyot:ml/tracking@0.1.0",
}


class Wrong(Exception):
    """Something in the app has no WIT."""


def kebab(name):
    """The name in WIT: `max-rows` for max_rows and maxRows, `http-code` for HTTPCode."""
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3-\2", name).lower().replace("_", "-").split("-")
    return "%" + "-".join(word for word in words if word)


def own(node):
    """The name of something of the SDK: `eyot.Artifact` or `Artifact`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "eyot":
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def wit(node, records):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    name = own(node)
    if name == "Artifact":
        return "artifact"
    if name in SCALARS:
        return SCALARS[name]
    if name in records:
        records[name].needed = True
        return kebab(name) + "-record"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [side for side in (node.left, node.right) if not (isinstance(side, ast.Constant) and side.value is None)]
        if len(sides) == 1:
            return f"option<{wit(sides[0], records)}>"
    if isinstance(node, ast.Subscript):
        outer = own(node.value) or getattr(node.value, "attr", None)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer in ("list", "List") and len(inner) == 1:
            return f"list<{wit(inner[0], records)}>"
        if outer == "Optional" and len(inner) == 1:
            return f"option<{wit(inner[0], records)}>"
        if outer in ("tuple", "Tuple"):
            return f"tuple<{', '.join(wit(one, records) for one in inner)}>"
    known = "bool, int, float, str, bytes, list, tuple, Optional, eyot.Artifact and the app's own dataclasses"
    raise Wrong(f"line {node.lineno}: '{ast.unparse(node)}' cannot cross a component's boundary; what can: {known}")


def decorated(node, name):
    for decorator in node.decorator_list:
        if own(decorator.func if isinstance(decorator, ast.Call) else decorator) == name:
            return True
    return False


def is_dataclass(node):
    if not isinstance(node, ast.ClassDef):
        return False
    plain = [decorator.func if isinstance(decorator, ast.Call) else decorator for decorator in node.decorator_list]
    return any((getattr(one, "id", None) or getattr(one, "attr", None)) == "dataclass" for one in plain)


def documentation(node):
    text = ast.get_docstring(node) or ""
    return "".join(f"  /// {line}\n" for line in text.splitlines())


def fields_of(node, records):
    """The fields of a dataclass by name, those of what it is derived from first."""
    fields = {}
    for base in node.bases:
        if own(base) in records:
            fields.update(fields_of(records[own(base)], records))
    fields.update({field.target.id: field for field in node.body if is_field(field)})
    return fields


def is_field(node):
    """Whether it is a field: what is annotated in a class, but for what is the class's own."""
    return isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)


def is_default(value):
    """Whether what stands behind the = of a field is its default: field(…) may have none."""
    if isinstance(value, ast.Call) and (getattr(value.func, "id", None) or getattr(value.func, "attr", None)) == "field":
        return any(keyword.arg in ("default", "default_factory") for keyword in value.keywords)
    return value is not None


def may_be_missing(text):
    return text if text.startswith("option<") else f"option<{text}>"


def record(node, records):
    fields = fields_of(node, records)
    if not fields:
        raise Wrong(f"line {node.lineno}: dataclass '{node.name}' has no field")
    distinct(node, fields)

    def typed(field):
        text = wit(field.annotation, records)
        return may_be_missing(text) if is_default(field.value) else text

    text = ", ".join(f"{kebab(name)}: {typed(field)}" for name, field in fields.items())
    return f"{documentation(node)}  record {kebab(node.name)}-record {{ {text} }}\n"


def distinct(node, names):
    """Two names that are one in WIT cannot stand beside each other."""
    seen = {}
    for name in names:
        if (other := seen.setdefault(kebab(name), name)) != name:
            raise Wrong(f"line {node.lineno}: '{other}' and '{name}' of '{node.name}' have one name in WIT, {kebab(name)[1:]}")


def function(node, records):
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
        raise Wrong(f"line {node.lineno}: '{node.name}' takes more than plain parameters")
    distinct(node, [param.arg for param in arguments.args])
    params = []
    first_default = len(arguments.args) - len(arguments.defaults)
    for index, param in enumerate(arguments.args):
        if param.annotation is None:
            raise Wrong(f"line {param.lineno}: parameter '{param.arg}' of '{node.name}' needs an annotation")
        text = wit(param.annotation, records)
        params.append(f"{kebab(param.arg)}: {may_be_missing(text) if index >= first_default else text}")
    returns = node.returns
    nothing = returns is None or (isinstance(returns, ast.Constant) and returns.value is None)
    ok = "_" if nothing else wit(returns, records)
    func = "async func" if isinstance(node, ast.AsyncFunctionDef) else "func"
    return f"{documentation(node)}  {kebab(node.name)}: {func}({', '.join(params)}) -> result<{ok}, string>;\n"


def needed_records(records):
    """The records that functions use, and those that these use; other dataclasses are the app's own."""
    texts = {}
    while missing := [name for name, node in records.items() if hasattr(node, "needed") and name not in texts]:
        texts.update({name: record(records[name], records) for name in missing})
    return "".join(texts.values())


def describe(source):
    tree = ast.parse(source)
    used = {own(node) for node in ast.walk(tree)}
    # A method, of whatever the app calls its model.
    used |= {"infer_async" for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "infer_async"}
    imports = sorted({interface for name, interface in IMPORTS.items() if name in used})
    records = {node.name: node for node in tree.body if is_dataclass(node)}
    definitions = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    functions = [node for node in definitions if decorated(node, "function")]
    handlers = [node for node in definitions if decorated(node, "handler")]
    answers = [node for node in definitions if decorated(node, "http")]
    for nodes, what in ((handlers, "handler"), (answers, "function with @eyot.http")):
        if len(nodes) > 1:
            raise Wrong(f"line {nodes[1].lineno}: there is more than one {what}")
    for node in answers:
        if isinstance(node, ast.AsyncFunctionDef):
            raise Wrong(f"line {node.lineno}: '{node.name}' answers HTTP and cannot be an async def")
    if not functions and not handlers and not answers:
        raise Wrong("it exports nothing: put @eyot.function, @eyot.handler(…) or @eyot.http before a function")
    interface = None
    if functions:
        uses = "  use eyot:ml/artifacts@0.1.0.{artifact};\n" if IMPORTS["Artifact"] in imports else ""
        calls = "".join(function(node, records) for node in functions)
        interface = f"interface functions {{\n{uses}{needed_records(records)}{calls}}}\n"
    asynchronous = [isinstance(node, ast.AsyncFunctionDef) for node in handlers]
    return {
        "handler": False in asynchronous, "handler_async": True in asynchronous, "http": bool(answers), "functions": interface,
        "imports": imports, "error": None,
    }


def main():
    path = sys.argv[1]
    try:
        with open(path, encoding="utf-8") as file:
            answer = describe(file.read())
    except SyntaxError as error:
        answer = {"error": f"line {error.lineno}: {error.msg}"}
    except Wrong as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
