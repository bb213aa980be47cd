"""What goes wrong in an app, in words: what, and on which line of its own."""

import inspect
import os
import sys
import traceback

# Files whose lines are none of the app's.
SDK = ("eyot.py", "eyot_values.py", "eyot_errors.py", "eyot_http.py")

# What an app may end with: exit() is an exception of its own kind.
FAILURES = (Exception, SystemExit, KeyboardInterrupt)


class InvalidInput(ValueError):
    """The caller's data do not fit: over HTTP a 400 with this text."""


def is_own(filename):
    return os.path.basename(filename) not in SDK


def show(error):
    """Prints the traceback of an exception, the app's own lines of it. Where it has none, its one line says all."""
    trace = traceback.TracebackException.from_exception(error)
    own = trace.stack = traceback.StackSummary.from_list([frame for frame in trace.stack if is_own(frame.filename)])
    if own:
        print("".join(trace.format()), end="", file=sys.stderr)


def told(error, otherwise="", before=" "):
    """An exception in one line: what it is, what it says, and the last of the app's own lines that it came from,
    or what is told otherwise."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, ModuleNotFoundError):
        text += "; packages of pure Python work beside app.py, numpy and others with compiled code do not"
    frames = (frame for frame in reversed(traceback.extract_tb(error.__traceback__)) if is_own(frame.filename))
    place = next((f"({os.path.basename(frame.filename)}, line {frame.lineno})" for frame in frames), otherwise)
    return f"{text}{before}{place}" if place else text


def plain(text):
    """A text that can leave: what Python holds may have halves of characters."""
    return text.encode(errors="replace").decode()


def place_of(function):
    """Where a function of the app begins."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"({os.path.basename(code.co_filename)}, line {code.co_firstlineno})" if code else ""
