"""The events that an execution's answer consists of, one JSON object a line, as the SDKs read them."""

import json
import time

# Shown with a result by names of their own; all other types go under `extra`.
FIELDS = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
    "e2b/data": "data",
    "e2b/chart": "chart",
}
KEEPALIVE = {"type": "keepalive"}
END = {"type": "end_of_execution"}


def line(event):
    """The event as it is sent. Numbers that JSON does not have become null: JavaScript reads no others."""
    try:
        text = json.dumps(event, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(_finite(event), allow_nan=False, default=str)
    return text.encode() + b"\n"


def number(count):
    """Which execution of its context this is."""
    return {"type": "number_of_executions", "execution_count": count}


def output(stream, text):
    """A piece of `stdout` or `stderr`."""
    return {"type": stream, "text": text, "timestamp": time.time_ns()}


def error(name, value, traceback=""):
    """Why the code ended early."""
    return {"type": "error", "name": name, "value": value, "traceback": traceback}


def result(bundle, is_main):
    """Something shown, or, as the main result, the value of the last expression. `bundle`: representations by MIME type."""
    event = {"type": "result", "is_main_result": is_main}
    extra = {}
    for mime, value in bundle.items():
        if mime in FIELDS:
            event[FIELDS[mime]] = value
        else:
            extra[mime] = value
    text = event.get("text")
    if isinstance(text, str) and len(text) > 1 and text[0] == text[-1] == "'":
        # A string is shown by itself and not as its literal.
        event["text"] = text[1:-1]
    if extra:
        event["extra"] = extra
    return event


def _finite(value):
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
