"""Much output, and readers that are slow: nothing grows, nothing is lost."""

import http.client
import json
import pathlib
import time

import pytest
from conftest import TOKEN, is_alive, rss_mib, wait_until
from e2b_code_interpreter import Sandbox

LINES = 400_000
FLOODS = {
    "python": ("import os\nprint(os.getpid(), flush=True)\nwhile True:\n    print('x' * 1000)", "1 + 1"),
    "js": ("console.log(process.pid); while (true) console.log('x'.repeat(1000));", "1 + 1"),
    "bash": ("echo $$; while true; do printf '%01000d\\n' 0; done", "echo 2"),
}


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", f"for n in range({LINES}):\n    print(n)"),
        ("python", f"import subprocess\nsubprocess.run(['seq', '0', '{LINES - 1}'])"),
        ("js", f"for (let n = 0; n < {LINES}; n++) console.log(n)"),
        ("bash", f"seq 0 {LINES - 1}"),
    ],
)
def test_much_output_arrives_whole(sandbox, language, code):
    execution = sandbox.run_code(code, language=language)
    assert execution.error is None, execution.error
    assert "".join(execution.logs.stdout) == "".join(f"{n}\n" for n in range(LINES))


@pytest.mark.parametrize("language", FLOODS)
def test_a_reader_that_stands_still_holds_the_code_up(sandbox, server, language):
    code, question = FLOODS[language]
    context = sandbox.create_code_context(language=language)
    connection, response = begin(server, context, code)
    while (event := json.loads(response.readline()))["type"] != "stdout":
        pass
    kernel = int(event["text"].split()[0])
    # Nobody reads any more. It stands still once all buffers are full.
    wait_until(lambda: stands_still(kernel), "the kernel waits")
    assert rss_mib(server.process.pid) < 200 and rss_mib(kernel) < 400
    response.close()
    connection.close()
    execution = sandbox.run_code(question, context=context, timeout=30)
    assert (execution.text or execution.logs.stdout[0].strip()) == "2"
    # It is the same kernel: it was interrupted.
    assert is_alive(kernel)


def begin(server, context, code):
    """Sends code; gives the connection and the answer, of which nothing was read."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/execute", json.dumps({"code": code, "context_id": context.id}), {"X-Access-Token": TOKEN})
    return connection, connection.getresponse()


def test_a_flood_of_pieces_of_lines_sets_no_more_than_a_clock_a_stream(sandbox):
    code = (
        "import sys\nfor n in range(100_000):\n    sys.stdout.write('x' * 300)\n    sys.stdout.write('y' * 699 + '\\n')\n"
        "len(sys.stdout.pub_thread.io_loop.asyncio_loop._scheduled)"
    )
    execution = sandbox.run_code(code, context=sandbox.create_code_context())
    assert sum(map(len, execution.logs.stdout)) == 100_000_000
    # Two, and what else the thread has to do now and then.
    assert int(execution.text) < 10


def test_the_thread_that_publishes_never_waits_for_itself(sandbox):
    code = (
        "import sys\npublisher = sys.stdout.pub_thread\n"
        "publisher.schedule(lambda: [publisher.schedule(lambda: None) for _ in range(10_000)])\nprint('on')"
    )
    execution = sandbox.run_code(code, context=sandbox.create_code_context(), timeout=30)
    assert execution.logs.stdout == ["on\n"]


@pytest.mark.parametrize("code", ["sys.stdout.write('x')", "print('x' * 1000)", "display(1)"])
def test_floods_that_are_abandoned_at_any_moment_leave_the_kernel_alive(sandbox, server, code):
    context = sandbox.create_code_context()
    kernel = sandbox.run_code("import os, random, sys, time\nos.getpid()", context=context).text
    for round_ in range(40):
        connection, response = begin(server, context, f"print('on', flush=True)\nwhile True:\n    {code}")
        while json.loads(response.readline())["type"] != "stdout":
            pass
        # Any moment, and the same ones in each run of this test.
        time.sleep(round_ % 8 * 0.01)
        response.close()
        connection.close()
        assert sandbox.run_code("os.getpid()", context=context, timeout=30).text == kernel, round_


LARGE = {
    "python": "import os\nprint(os.getpid(), flush=True)\nwhile True:\n    display({'text/plain': 'x' * 20_000_000}, raw=True)",
    "js": "console.log(process.pid);\nwhile (true) { display('x'.repeat(20_000_000)); }",
}


@pytest.mark.parametrize("language", LARGE)
def test_large_results_that_nobody_reads_are_few(make_server, language):
    server = make_server("--cold", "--agent", "")
    context = Sandbox(**server.opts()).create_code_context(language=language)
    connection, response = begin(server, context, LARGE[language])
    while (event := json.loads(response.readline()))["type"] != "stdout":
        pass
    kernel = int(event["text"].split()[0])
    wait_until(lambda: stands_still(kernel) and stands_still(server.process.pid), "the kernel and the server wait")
    assert rss_mib(server.process.pid) < 300 and rss_mib(kernel) < 300
    response.close()
    connection.close()
    assert Sandbox(**server.opts()).run_code("1 + 1", context=context, timeout=30).text == "2"
    assert is_alive(kernel)


@pytest.mark.parametrize(
    ("language", "code"),
    [("python", "for n in range(5000):\n    display(n)"), ("js", "for (let n = 0; n < 5000; n++) display(n)")],
)
def test_many_small_results_arrive_in_order(sandbox, language, code):
    results = sandbox.run_code(code, language=language, timeout=60).results
    assert [result.text for result in results] == [str(n) for n in range(5000)]


def stands_still(pid):
    """Whether it takes no processor time for a while."""
    before = cpu_ticks(pid)
    time.sleep(0.5)
    return cpu_ticks(pid) - before <= 1


def cpu_ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_one_write_of_much(sandbox):
    execution = sandbox.run_code("print('y' * 20_000_000)")
    assert sum(map(len, execution.logs.stdout)) == 20_000_001
    assert max(map(len, execution.logs.stdout)) < 1_000_000


@pytest.mark.parametrize(("language", "code"), [("python", "'x' * 100_000_000"), ("js", "'x'.repeat(100_000_000)")])
def test_a_value_that_is_too_large_is_an_error(sandbox, language, code):
    execution = sandbox.run_code(code, language=language)
    assert execution.error.name in ("ValueError", "RangeError") and "at most" in execution.error.value
    assert sandbox.run_code("1 + 1", language=language).text == "2"


def test_threads_print_between_cells_without_holding_anything_up(sandbox):
    context = sandbox.create_code_context()
    code = (
        "import threading\ncount = 0\ndef flood():\n    global count\n    while count < 200_000:\n        count += 1\n"
        "        print('x' * 100)\nthreading.Thread(target=flood).start()"
    )
    sandbox.run_code(code, context=context)
    wait_until(lambda: sandbox.run_code("count", context=context).text == "200000", "the thread is done")
