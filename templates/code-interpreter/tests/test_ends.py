"""How executions end early: clients that go, time-outs, kernels that die."""

import http.client
import json
import threading
import time

import pytest
from conftest import TOKEN
from e2b import TimeoutException

ENDLESS = {
    "python": ("import time\nwhile True:\n    time.sleep(0.01)", "1 + 1"),
    "js": ("while (true);", "1 + 1"),
    "ts": ("await new Promise(() => {})", "1 + 1"),
    "bash": ("while true; do sleep 0.1; done", "echo 2"),
}
MORE_ENDLESS = [
    ("python", "while True: pass"),
    ("python", "import asyncio\nawait asyncio.sleep(1000)"),
    ("python", "import subprocess\nsubprocess.run(['sleep', '1000'])"),
    ("js", "for (;;) await null;"),
    ("js", "await new Promise((done) => setTimeout(done, 1e6))"),
    ("js", "require('child_process').execSync('sleep 1000')"),
    ("bash", "sleep 1000"),
    ("bash", "cat /dev/zero | sleep 1000"),
]


# The IPython kernel publishes by a thread, which needs a moment.
LAST_WORDS = "import time\nprint('last words', flush=True)\ntime.sleep(0.5)"


def answer_of(execution):
    assert execution.error is None, execution.error
    return (execution.text or execution.logs.stdout[0]).strip()


@pytest.mark.parametrize("language", ENDLESS)
def test_a_timeout_interrupts_and_keeps_the_state(sandbox, language):
    endless, question = ENDLESS[language]
    remember = {"python": "kept = 5", "bash": "kept=5"}.get(language, "var kept = 5")
    recall = {"python": "kept", "bash": "echo $kept"}.get(language, "kept")
    context = sandbox.create_code_context(language=language)
    sandbox.run_code(remember, context=context)
    with pytest.raises(TimeoutException):
        sandbox.run_code(endless, context=context, timeout=1)
    assert answer_of(sandbox.run_code(question, context=context, timeout=30)) == "2"
    assert answer_of(sandbox.run_code(recall, context=context)) == "5"


@pytest.mark.parametrize(("language", "code"), MORE_ENDLESS)
def test_whatever_runs_is_interrupted(sandbox, language, code):
    context = sandbox.create_code_context(language=language)
    sandbox.run_code("kept=5", context=context)
    with pytest.raises(TimeoutException):
        sandbox.run_code(code, context=context, timeout=1)
    execution = sandbox.run_code("echo $kept" if language == "bash" else "kept", context=context, timeout=30)
    assert answer_of(execution) == "5"


def test_code_that_heeds_no_interrupt_loses_its_kernel(sandbox):
    context = sandbox.create_code_context()
    stubborn = "import time\nwhile True:\n    try:\n        time.sleep(1)\n    except KeyboardInterrupt:\n        pass"
    with pytest.raises(TimeoutException):
        sandbox.run_code(stubborn, context=context, timeout=1)
    assert answer_of(sandbox.run_code("1 + 1", context=context, timeout=60)) == "2"


@pytest.mark.parametrize(
    ("language", "code", "how"),
    [
        ("python", f"{LAST_WORDS}\nimport os\nos._exit(3)", "exit code 3"),
        ("python", f"{LAST_WORDS}\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("js", "console.log('last words'); process.exit(3)", "exit code 3"),
        ("js", "console.log('last words'); process.kill(process.pid, 'SIGKILL')", "SIGKILL"),
        ("bash", "echo last words; kill -9 $$", "SIGKILL"),
    ],
)
def test_a_kernel_that_dies_ends_the_execution_and_is_made_anew(sandbox, language, code, how):
    context = sandbox.create_code_context(language=language)
    execution = sandbox.run_code(code, context=context)
    assert execution.error.name == "KernelDied" and how in execution.error.value
    assert "".join(execution.logs.stdout) == "last words\n"
    # Node.js has words of its own where it kills itself.
    assert execution.logs.stderr == [] or "process.kill" in code
    assert answer_of(sandbox.run_code("echo 2" if language == "bash" else "1 + 1", context=context)) == "2"


def test_a_kernel_that_dies_between_cells_is_made_anew(sandbox):
    context = sandbox.create_code_context()
    sandbox.run_code("import os, threading\nthreading.Timer(0.2, os._exit, [1]).start()", context=context)
    time.sleep(1)
    assert answer_of(sandbox.run_code("1 + 1", context=context)) == "2"


@pytest.mark.parametrize(
    "published",
    [
        "[b'stream', b'<IDS|MSG>', b'of nobody', b'{}', b'{}', b'{}', b'{}']",
        "[b'no message']",
        "kernel.session.serialize(kernel.session.msg('stream', {}, parent=kernel.get_parent()))",
        "kernel.session.serialize(kernel.session.msg('display_data', {'data': 5}, parent=kernel.get_parent()))",
    ],
)
def test_what_is_no_message_ends_nothing(sandbox, published):
    code = f"import sys\nkernel = get_ipython().kernel\nsys.stdout.pub_thread.send_multipart({published})\nprint('on')\n1"
    execution = sandbox.run_code(code, context=sandbox.create_code_context(), timeout=30)
    assert execution.text == "1" and execution.logs.stdout == ["on\n"]


def post(server, body):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/execute", json.dumps(body), {"X-Access-Token": TOKEN})
    return connection, connection.getresponse()


def test_a_client_that_goes_while_it_waits_in_line_runs_nothing(sandbox, server, tmp_path):
    context, began, mark = sandbox.create_code_context(), threading.Event(), tmp_path / "mark"
    code = "print('on', flush=True)\nimport time\ntime.sleep(2)"
    first = threading.Thread(
        target=sandbox.run_code, args=(code,), kwargs={"context": context, "on_stdout": lambda _: began.set()}
    )
    first.start()
    assert began.wait(60)
    connection, response = post(server, {"code": f"open({str(mark)!r}, 'w')", "context_id": context.id})
    response.close()
    connection.close()
    first.join()
    assert answer_of(sandbox.run_code("1 + 1", context=context)) == "2"
    assert not mark.exists()


def test_silence_is_filled_with_keepalives(server):
    connection, response = post(server, {"code": "import time\ntime.sleep(6)\n'done'"})
    lines = [json.loads(line) for line in response.read().splitlines()]
    connection.close()
    assert [line["type"] for line in lines] == ["number_of_executions", "keepalive", "result", "end_of_execution"]


def test_output_comes_as_it_is_printed(sandbox):
    for language, code in (("python", "import time\nprint(1)\ntime.sleep(2)\nprint(2)"), ("bash", "echo 1; sleep 2; echo 2")):
        at = []
        sandbox.run_code(code, language=language, on_stdout=lambda _: at.append(time.monotonic()))
        assert len(at) == 2 and at[1] - at[0] > 1, language
