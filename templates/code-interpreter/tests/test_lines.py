"""What is printed comes by whole lines, and does not wait for their ends for long."""


import pytest

# `print` writes a line and its end one after the other, and meanwhile the clock strikes several times.
PRINTING = "import time\nuntil = time.monotonic() + 2\nwhile time.monotonic() < until:\n    print('a line', file={stream})"


def pieces_of(execution, stream="stdout"):
    assert execution.error is None, execution.error
    return getattr(execution.logs, stream)


def cut(pieces):
    return [piece[-40:] for piece in pieces if not piece.endswith("\n")]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_lines_are_not_cut_by_the_clock(sandbox, stream):
    pieces = pieces_of(sandbox.run_code("import sys\n" + PRINTING.format(stream=f"sys.{stream}")), stream)
    assert len(pieces) > 3 and cut(pieces) == []


def test_a_line_waits_a_moment_for_its_end(sandbox):
    # Longer than the clock waits before it publishes.
    code = "import sys, time\nsys.stderr.write('two')\ntime.sleep(0.25)\nsys.stderr.write('\\n')"
    assert pieces_of(sandbox.run_code(code), "stderr") == ["two\n"]


def test_what_an_earlier_cell_left_to_the_clock_cuts_nothing(sandbox):
    sandbox.run_code("import sys, time\nprint('one')")
    # The clock that the cell before set strikes now.
    code = "sys.stdout.write('two')\ntime.sleep(0.25)\nsys.stdout.write('\\n')"
    assert pieces_of(sandbox.run_code(code)) == ["two\n"]


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "import subprocess\nsubprocess.run(['seq', '200000'])"),
        ("python", "print('\\n'.join('n' * (n % 3000) for n in range(5000)))"),
        ("js", "console.log(Array.from({length: 5000}, (_, n) => 'n'.repeat(n % 3000)).join('\\n'))"),
        ("bash", "seq 200000"),
    ],
)
def test_lines_are_not_cut_by_the_size_of_messages(sandbox, language, code):
    pieces = pieces_of(sandbox.run_code(code, language=language))
    assert len(pieces) > 3 and cut(pieces) == []


def test_a_line_of_several_writes_of_a_shell(sandbox):
    pieces = pieces_of(sandbox.run_code("for n in {1..2000}; do printf two; printf '\\n'; done", language="bash"))
    assert "".join(pieces) == "two\n" * 2000 and cut(pieces) == []


WORKING = {
    "python": "import pathlib, time\nprint('working', end='')\nwhile not pathlib.Path({seen!r}).exists():\n    time.sleep(0.01)",
    "js": "process.stdout.write('working'); while (!require('fs').existsSync({seen!r})) await new Promise((done) => setTimeout(done, 10))",
    "bash": "printf working; until [ -e {seen!r} ]; do sleep 0.01; done",
}


@pytest.mark.parametrize("language", WORKING)
def test_a_line_without_an_end_is_seen_while_the_cell_runs(sandbox, tmp_path, language):
    seen = tmp_path / "seen"
    code = WORKING[language].format(seen=str(seen))
    execution = sandbox.run_code(code, language=language, on_stdout=lambda _: seen.touch(), timeout=30)
    assert pieces_of(execution) == ["working"]


def test_what_goes_on_without_an_end_is_seen_as_well(sandbox, tmp_path):
    seen = tmp_path / "seen"
    code = f"until [ -e '{seen}' ]; do printf .; sleep 0.02; done"
    pieces = pieces_of(sandbox.run_code(code, language="bash", on_stdout=lambda _: seen.touch(), timeout=30))
    assert set("".join(pieces)) == {"."}


def test_what_is_flushed_does_not_wait(sandbox):
    code = "for n in range(3):\n    print(n, end='', flush=True)\nprint()"
    assert pieces_of(sandbox.run_code(code)) == ["0", "1", "2", "\n"]


def test_children_print_whole_lines(sandbox):
    code = (
        "import multiprocessing\ndef child():\n    print('of a child')\n    print('without an end', end='')\n"
        "process = multiprocessing.get_context('fork').Process(target=child)\nprocess.start()\nprocess.join()"
    )
    assert pieces_of(sandbox.run_code(code)) == ["of a child\n", "without an end"]


def test_a_result_comes_after_what_was_written_past_python(sandbox):
    for _ in range(20):
        came = []
        code = "import os\nos.write(1, b'a line\\n' * 8000)"
        sandbox.run_code(code, on_stdout=lambda _: came.append("stdout"), on_result=lambda _: came.append("result"))
        assert came[0] == "stdout" and came.index("result") == len(came) - 1
