"""Runs a Python function: asks the Runtime API for calls, gives them to the handler, posts what it answers.

Speaks HTTP itself over one kept connection. The standard library's client imports the whole of `email` first, which
makes a third of a cold start where instructions are emulated.
"""

import sys

# The function's own modules first; ours, beside this file, not at all.
sys.path[0] = "/opt/python"

import importlib
import json
import os
import socket
import time

API = "/2018-06-01/runtime"
# Has another value once the machine went on from a snapshot.
GENERATION = "/run/hearth/generation"
# Answers of the Runtime API are made by the agent; these bounds only keep a broken one from eating the memory.
HEAD_MAX_BYTES = 64 << 10
BODY_MAX_BYTES = 64 << 20


class Fault(Exception):
    """What the runtime, not the handler, has to say. Its type is Lambda's."""

    def __init__(self, kind, message, trace=()):
        super().__init__(message)
        self.kind, self.message, self.trace = kind, message, list(trace)


class RuntimeApi:
    """One HTTP/1.1 connection to the agent, made anew when it breaks between two requests."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.address, self.host, self.stream = (host.strip("[]"), int(port or 80)), address, None

    def call(self, method, path, body=b"", headers=()):
        """Status, headers by lower-case name, body."""
        head = [f"{method} {API}{path} HTTP/1.1", f"Host: {self.host}", "User-Agent: hearth-python3", *headers]
        if method == "POST":
            head += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
        request = "\r\n".join([*head, "\r\n"]).encode("utf-8") + body
        # Only a kept connection may have been closed meanwhile; and an answer posted twice is refused by its ID.
        for fresh in (self.stream is None, True):
            try:
                if self.stream is None:
                    self._connect()
                self._socket.sendall(request)
                return self._answer()
            except (OSError, EOFError):
                self.stream = None
                if fresh:
                    raise
        raise EOFError

    def _connect(self):
        self._socket = socket.create_connection(self.address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self._socket.makefile("rb", 64 << 10)

    def _line(self):
        line = self.stream.readline(HEAD_MAX_BYTES)
        if not line.endswith(b"\n"):
            raise EOFError("the Runtime API broke off")
        return line.rstrip(b"\r\n").decode("utf-8", "replace")

    def _answer(self):
        status = int(self._line().split(" ", 2)[1])
        headers = {}
        while line := self._line():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunks()
        else:
            body = self._exactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "").lower() == "close":
            self.stream = None
        return status, headers, body

    def _chunks(self):
        parts, total = [], 0
        while size := int(self._line().split(";")[0], 16):
            total += size
            if total > BODY_MAX_BYTES:
                raise EOFError("the Runtime API's answer is too large")
            parts.append(self._exactly(size))
            self._line()
        while self._line():
            pass
        return b"".join(parts)

    def _exactly(self, size):
        if size > BODY_MAX_BYTES:
            raise EOFError("the Runtime API's answer is too large")
        body = self.stream.read(size)
        if len(body) != size:
            raise EOFError("the Runtime API broke off")
        return body


class Identity:
    """Who called, by Cognito; mostly nobody."""

    def __init__(self, text):
        given = json.loads(text) if text else {}
        self.cognito_identity_id = given.get("cognitoIdentityId")
        self.cognito_identity_pool_id = given.get("cognitoIdentityPoolId")


class Client:
    """The calling application."""

    def __init__(self, given):
        self.installation_id = given.get("installation_id")
        self.app_title = given.get("app_title")
        self.app_version_name = given.get("app_version_name")
        self.app_version_code = given.get("app_version_code")
        self.app_package_name = given.get("app_package_name")


class ClientContext:
    """What the caller said of itself."""

    def __init__(self, given):
        self.client = Client(given["client"]) if given.get("client") else None
        self.custom, self.env = given.get("custom"), given.get("env")


class Context:
    """The handler's second argument."""

    def __init__(self, headers):
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self._deadline_ms = int(headers.get("lambda-runtime-deadline-ms") or 0)
        client = headers.get("lambda-runtime-client-context")
        self.client_context = ClientContext(json.loads(client)) if client else None
        self.identity = Identity(headers.get("lambda-runtime-cognito-identity"))
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")

    def get_remaining_time_in_millis(self):
        """Until the call is given up."""
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def log(self, message):
        """Writes a line without adding anything."""
        sys.stdout.write(str(message))

    def __repr__(self):
        shown = (f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"LambdaContext([{','.join(shown)}])"


def find_handler(name):
    """The function that `folder/module.function` names."""
    module_name, dot, function = name.rpartition(".")
    if not (dot and module_name and function):
        raise Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': it is not of the form module.function")
    module_name = module_name.replace("/", ".")
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}", frames(error))
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {(error.text or "").rstrip()}']
        raise Fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}", trace)
    try:
        return getattr(module, function)
    except AttributeError:
        raise Fault("Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{module_name}'")


def frames(error):
    """The stack of an error, without the frames of this file and of the import machinery."""
    import traceback

    found = traceback.extract_tb(error.__traceback__)
    ours = {frames.__code__.co_filename, importlib.__file__}
    own = [frame for frame in found if frame.filename not in ours and "<frozen importlib" not in frame.filename]
    return traceback.format_list(own)


def error_body(error, request_id):
    """Lambda's description of an error, as bytes, and its type."""
    if isinstance(error, Fault):
        kind, message, trace = error.kind, error.message, error.trace
    else:
        kind, message, trace = type(error).__name__, safely(error), frames(error)
    where = f" RequestId: {request_id}" if request_id else ""
    print(f"[ERROR] {kind}: {message}{where}", *(line.rstrip("\n") for line in trace), sep="\n", flush=True)
    fields = {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": trace}
    return json.dumps(fields).encode(), kind


def safely(error):
    """An error's text. It is the handler's code that makes it, which may fail as well."""
    try:
        return str(error)
    except Exception:
        return "(its message cannot be shown)"


def adopt_logging(request_id):
    """Log lines as Lambda writes them, for whoever uses `logging`; others need not pay for its import."""
    logging = sys.modules.get("logging")
    if not logging or not hasattr(logging, "getLogger"):
        return
    root = logging.getLogger()
    adopt_logging.request_id = request_id
    if adopt_logging.done or root.handlers:
        return
    adopt_logging.done = True
    handler = logging.StreamHandler(sys.stdout)
    line = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"
    formatter = logging.Formatter(line, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)

    def add_request(record):
        record.aws_request_id = adopt_logging.request_id
        return True

    handler.addFilter(add_request)
    root.addHandler(handler)


adopt_logging.done, adopt_logging.request_id = False, ""


def to_json(answer):
    """What the handler gave, as bytes."""
    try:
        return json.dumps(answer, ensure_ascii=False).encode("utf-8")
    except Exception as error:
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {safely(error)}")


def from_json(body):
    """The event."""
    try:
        return json.loads(body)
    except Exception as error:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {safely(error)}")


def generation():
    """Which of those that went on from one snapshot this is."""
    try:
        with open(GENERATION, "rb") as file:
            return file.read(64)
    except OSError:
        return b""


def draw_anew(was):
    """Has generators of random numbers in this process's memory differ from those of all others that went on from the same
    snapshot, if it did since it was of the generation `was`."""
    if generation() == was:
        return
    if ssl := sys.modules.get("_ssl"):
        # OpenSSL's, by which keys are made; it is seeded anew from the kernel's as well.
        ssl.RAND_add(os.urandom(32), 32.0)
    if random := sys.modules.get("random"):
        random.seed()


def run_hooks(taken):
    """What a function has given AWS's `snapshot_restore_py` to be run around its snapshot."""
    for hook, args, kwargs in taken:
        hook(*args, **kwargs)


def be_saved(api, was):
    """Lambda's SnapStart: says when the snapshot is to be made, and goes on when it was, or when none will be."""
    hooks = sys.modules.get("snapshot_restore_py")
    try:
        run_hooks(reversed(hooks.get_before_snapshot()) if hooks else ())
    except Exception as error:
        post_error(api, "/init/error", error)
        sys.exit(64)
    status, _, said = api.call("GET", "/restore/next")
    if status != 200:
        raise EOFError(f"the Runtime API answered {status} to the request for the snapshot: {said.decode('utf-8', 'replace')}")
    draw_anew(was)
    try:
        run_hooks(hooks.get_after_restore() if hooks else ())
    except Exception as error:
        post_error(api, "/restore/error", error)
        sys.exit(65)


def serve(api, handler, was):
    """One call after another, for as long as there is a Runtime API. `was`: the generation when the function was loaded."""
    while True:
        status, headers, body = api.call("GET", "/invocation/next")
        if status != 200:
            raise EOFError(f"the Runtime API answered {status} to the request for the next call")
        # A snapshot that others go on from is made before the first call.
        if was is not None:
            draw_anew(was)
            was = None
        request_id = headers["lambda-runtime-aws-request-id"]
        if trace := headers.get("lambda-runtime-trace-id"):
            os.environ["_X_AMZN_TRACE_ID"] = trace
        adopt_logging(request_id)
        try:
            answer = to_json(handler(from_json(body), Context(headers)))
        except Exception as error:
            post_error(api, f"/invocation/{request_id}/error", error, request_id)
            continue
        status, _, said = api.call("POST", f"/invocation/{request_id}/response", answer)
        if status >= 400:
            print(f"[ERROR] the answer of {len(answer)} bytes was refused with {status}:", said.decode("utf-8", "replace"))


def post_error(api, path, error, request_id=""):
    """Tells of an error."""
    body, kind = error_body(error, request_id)
    api.call("POST", path, body, (f"Lambda-Runtime-Function-Error-Type: {kind.encode('ascii', 'replace').decode()}",))


def main():
    """Finds the handler and serves it."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=True)
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    sys.path.insert(0, os.environ.get("LAMBDA_TASK_ROOT", "/var/task"))
    try:
        handler = find_handler(os.environ.get("_HANDLER", ""))
    except Exception as error:
        post_error(api, "/init/error", error)
        sys.exit(1)
    adopt_logging("")
    was = generation()
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        be_saved(api, was)
        was = generation()
    serve(api, handler, was)


if __name__ == "__main__":
    main()
