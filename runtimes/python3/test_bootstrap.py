"""The Python bootstrap against a small Runtime API on loopback, each test with a process of its own.

Run by scripts/runtimes-test: python3 -m unittest discover -s runtimes/python3
"""

import http.server
import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BOOTSTRAP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap.py")
PATIENCE_S = 20


class FakeRuntimeApi(http.server.ThreadingHTTPServer):
    """Gives out the calls that a test queued, and collects what is posted."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls, self.posted = queue.Queue(), queue.Queue()
        self.refuse, self.chunked, self.asked = set(), False, threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def invoke(self, event, request_id="r-1", **headers):
        """Queues a call and returns what comes of it: path, headers, body."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        self.calls.put((request_id, body, headers))
        return self.next_post()

    def next_post(self):
        """What is posted next."""
        path, headers, body = self.posted.get(timeout=PATIENCE_S)
        return path.removeprefix("/2018-06-01/runtime"), headers, json.loads(body)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Says nothing."""

    def do_GET(self):
        """The next call; the connection is let go where the test is over."""
        self.server.asked.set()
        try:
            request_id, body, headers = self.server.calls.get(timeout=PATIENCE_S)
        except queue.Empty:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 5000))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:local:0:function:f")
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1")
        for name, value in headers.items():
            self.send_header("Lambda-Runtime-" + name.replace("_", "-"), value)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(body), 3):
                part = body[at : at + 3]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_POST(self):
        """An answer or an error."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 413 if self.path in self.server.refuse else 202
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.posted.put((self.path, self.headers, body))


class Case(unittest.TestCase):
    """A task folder, a Runtime API and a bootstrap."""

    def setUp(self):
        self.api = FakeRuntimeApi()
        self.addCleanup(self.api.server_close)
        self.addCleanup(self.api.shutdown)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def start(self, source, handler="app.handler", name="app.py", program=BOOTSTRAP):
        """Runs the bootstrap over one file of source."""
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)
        env = {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.api.server_address[1]}",
            "LAMBDA_TASK_ROOT": self.folder,
            "_HANDLER": handler,
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_LAMBDA_FUNCTION_VERSION": "7",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        }
        self.output = tempfile.TemporaryFile("w+")
        self.addCleanup(self.output.close)
        command = [sys.executable, "-s", program]
        self.process = subprocess.Popen(command, env=env, cwd=self.folder, stdout=self.output, stderr=self.output)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)

    def written(self):
        """What the process has written up to now."""
        self.output.seek(0)
        return self.output.read()

    def exits(self):
        """Its exit code."""
        return self.process.wait(timeout=PATIENCE_S)


class Calls(Case):
    """Handlers that are there."""

    def test_answers_one_call_after_another_over_one_connection(self):
        self.start("n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    return {'n': n, 'é': event}")
        self.assertEqual(self.api.invoke("ü")[::2], ("/invocation/r-1/response", {"n": 1, "é": "ü"}))
        path, headers, body = self.api.invoke({"a": [1]}, request_id="r-2")
        self.assertEqual((path, body["n"], body["é"]), ("/invocation/r-2/response", 2, {"a": [1]}))
        self.assertEqual(headers["Content-Type"], "application/json")

    def test_reads_chunked_calls(self):
        self.api.chunked = True
        self.start("def handler(event, context): return event")
        self.assertEqual(self.api.invoke({"long": "x" * 100})[2], {"long": "x" * 100})

    def test_a_large_event_comes_back_whole(self):
        self.start("def handler(event, context): return event")
        self.assertEqual(self.api.invoke("x" * (6 << 20))[2], "x" * (6 << 20))

    def test_the_context_has_what_lambda_gives(self):
        self.start(
            "import os\n"
            "def handler(event, c):\n"
            "    return [c.aws_request_id, 0 < c.get_remaining_time_in_millis() <= 5000, c.function_name,\n"
            "            c.function_version, c.memory_limit_in_mb, c.invoked_function_arn, c.log_stream_name,\n"
            "            c.client_context.custom['k'], c.client_context.client.app_title,\n"
            "            c.identity.cognito_identity_id, os.environ['_X_AMZN_TRACE_ID'], 'aws_request_id' in repr(c)]"
        )
        client = json.dumps({"custom": {"k": "v"}, "client": {"app_title": "t"}})
        identity = json.dumps({"cognitoIdentityId": "me"})
        answer = self.api.invoke({}, Client_Context=client, Cognito_Identity=identity)[2]
        arn = "arn:aws:lambda:local:0:function:f"
        self.assertEqual(answer, ["r-1", True, "f", "7", "128", arn, "stream", "v", "t", "me", "Root=1", True])

    def test_without_client_context_there_is_none(self):
        self.start("def handler(e, c): return [c.client_context, c.identity.cognito_identity_id]")
        self.assertEqual(self.api.invoke({})[2], [None, None])

    def test_handlers_in_folders(self):
        self.start("def go(e, c): return 'deep'", handler="src/api/app.go", name="src/api/app.py")
        self.assertEqual(self.api.invoke({})[2], "deep")

    def test_a_refused_answer_does_not_end_it(self):
        self.api.refuse.add("/2018-06-01/runtime/invocation/r-1/response")
        self.start("def handler(e, c): return e")
        self.api.invoke("first")
        self.assertEqual(self.api.invoke("second", request_id="r-2")[2], "second")
        self.assertIn("refused with 413", self.written())

    def test_output_is_there_at_once_and_log_lines_name_the_request(self):
        source = "import logging\nlogging.getLogger().setLevel('INFO')\n"
        self.start(source + "def handler(e, c):\n    print('plain')\n    logging.info('logged %s', e)")
        self.api.invoke(5)
        self.assertRegex(self.written(), r"plain\n\[INFO\]\t[-0-9]+T[0-9:.]+Z\tr-1\tlogged 5\n")


class Restored(Case):
    """A process that went on from a snapshot, by what tells it so."""

    SOURCE = (
        "import random, ssl, _ssl\n"
        "added = []\n"
        "_ssl.RAND_add = lambda data, entropy: added.append((len(data), entropy, data))\n"
        "random.seed(7)\n"
        "def handler(event, context): return [random.random(), [(n, e) for n, e, _ in added], len({d for _, _, d in added})]"
    )

    def start(self, *args, **kwargs):
        """With a generation that the test can change."""
        self.generation, program = os.path.join(self.folder, "generation"), os.path.join(self.folder, "bootstrap.py")
        with open(BOOTSTRAP, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(text.count('"/run/hearth/generation"'), 1)
        with open(program, "w", encoding="utf-8") as file:
            file.write(text.replace("/run/hearth/generation", self.generation))
        super().start(*args, program=program, **kwargs)
        self.assertTrue(self.api.asked.wait(PATIENCE_S))

    def restored(self):
        """From here on it is another one."""
        with open(self.generation, "w", encoding="utf-8") as file:
            file.write(f"{time.time()}\n")

    def test_one_that_was_not_draws_as_before(self):
        self.start(self.SOURCE)
        self.assertEqual(self.api.invoke({})[2], [random.Random(7).random(), [], 0])

    def test_random_numbers_are_drawn_anew_before_the_first_call(self):
        self.start(self.SOURCE)
        self.restored()
        drawn, added, _ = self.api.invoke({})[2]
        self.assertNotEqual(drawn, random.Random(7).random())
        self.assertEqual(added, [[32, 32.0]])
        # From then on nobody goes on from where it is.
        self.restored()
        self.assertEqual(self.api.invoke({}, request_id="r-2")[2][1], [[32, 32.0]])

    def test_what_the_function_did_not_load_is_not_loaded_for_it(self):
        self.start("import sys\ndef handler(event, context): return '_ssl' in sys.modules")
        self.restored()
        self.assertIs(self.api.invoke({})[2], False)


class Errors(Case):
    """What goes wrong in a call."""

    def test_an_exception_is_told_with_its_stack_and_the_next_call_is_served(self):
        self.start("def inner(e):\n    raise ValueError('no ' + e)\ndef handler(e, c):\n    return inner(e) if e else 'fine'")
        path, headers, body = self.api.invoke("good")
        self.assertEqual(path, "/invocation/r-1/error")
        self.assertEqual(headers["Lambda-Runtime-Function-Error-Type"], "ValueError")
        self.assertEqual((body["errorMessage"], body["errorType"], body["requestId"]), ("no good", "ValueError", "r-1"))
        self.assertEqual(len(body["stackTrace"]), 2)
        self.assertRegex(body["stackTrace"][1], r'  File ".*app.py", line 2, in inner\n    raise ValueError')
        self.assertEqual(self.api.invoke("", request_id="r-2")[2], "fine")
        self.assertIn("[ERROR] ValueError: no good RequestId: r-1", self.written())

    def test_what_is_no_json(self):
        self.start("def handler(e, c): return object() if e else None")
        self.assertEqual(self.api.invoke(1)[2]["errorType"], "Runtime.MarshalError")
        self.assertEqual(self.api.invoke(b"{no")[2]["errorType"], "Runtime.UnmarshalError")
        self.assertEqual(self.api.invoke(0)[::2], ("/invocation/r-1/response", None))

    def test_an_error_that_cannot_be_shown(self):
        self.start("class Bad(Exception):\n    def __str__(self): raise KeyError\ndef handler(e, c): raise Bad")
        self.assertEqual(self.api.invoke(1)[2]["errorType"], "Bad")

    def test_exit_ends_the_process(self):
        self.start("import sys\ndef handler(e, c): sys.exit(3)")
        self.api.calls.put(("r-1", b"{}", {}))
        self.assertEqual(self.exits(), 3)


class Init(Case):
    """Handlers that are not there."""

    def fails(self, kind, message, source="", handler="app.handler"):
        """Starts, and expects this error of the initialisation."""
        self.start(source, handler)
        path, headers, body = self.api.next_post()
        self.assertEqual(path, "/init/error")
        self.assertEqual((body["errorType"], headers["Lambda-Runtime-Function-Error-Type"]), (kind, kind))
        self.assertRegex(body["errorMessage"], message)
        self.assertNotEqual(self.exits(), 0)
        return body

    def test_no_module(self):
        self.fails("Runtime.ImportModuleError", "Unable to import module 'nope': No module named 'nope'", "", "nope.f")

    def test_a_module_that_needs_what_is_not_there(self):
        body = self.fails("Runtime.ImportModuleError", "No module named 'absent_module'", "\nimport absent_module")
        self.assertIn("app.py\", line 2", body["stackTrace"][0])

    def test_no_function(self):
        self.fails("Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'", "x = 1")

    def test_no_such_name(self):
        for name in ["app", "", ".handler", "app."]:
            with self.subTest(name):
                self.fails("Runtime.MalformedHandlerName", "Bad handler", "", name)

    def test_a_syntax_error(self):
        body = self.fails("Runtime.UserCodeSyntaxError", "Syntax error in module 'app'", "def handler(:")
        self.assertIn("Line 1", body["stackTrace"][0])

    def test_a_built_in_module(self):
        self.fails("Runtime.BuiltInModuleConflict", "built-in module sys", "", "sys.exit")

    def test_an_exception_while_it_is_imported(self):
        body = self.fails("ZeroDivisionError", "division", "1 / 0")
        self.assertEqual(len(body["stackTrace"]), 1)


if __name__ == "__main__":
    unittest.main()
