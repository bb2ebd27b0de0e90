"""The code interpreter, in a sandbox of `code-interpreter-v1`."""

import base64

import pytest
from covers import covers
from e2b import NotFoundException, SandboxException


@pytest.fixture(scope="module")
def interpreter(interpreter_sdk):
    if not interpreter_sdk.Template.exists("code-interpreter-v1"):
        print("SKIPPED: there is no template code-interpreter-v1")
        pytest.skip("there is no template code-interpreter-v1")
    sandbox = interpreter_sdk.Sandbox.create(timeout=900)
    yield sandbox
    sandbox.kill()


@covers("interpreter.Sandbox.run_code", "interpreter.Sandbox.create")
def test_state_stays(interpreter):
    assert interpreter.get_info().name == "code-interpreter-v1"
    first = interpreter.run_code("numbers = [1, 2]\nprint('made')")
    assert (first.logs.stdout, first.results, first.error) == (["made\n"], [], None)
    second = interpreter.run_code("numbers.append(3); numbers")
    assert second.text == "[1, 2, 3]" and second.results[0].is_main_result
    assert second.execution_count == first.execution_count + 1


@covers("interpreter.Sandbox.run_code(on_stdout)", "interpreter.Sandbox.run_code(on_stderr)", "interpreter.Sandbox.run_code(on_result)")
def test_what_is_called_back(interpreter):
    out, err, results = [], [], []
    code = "import sys\nprint('one')\nprint('two', file=sys.stderr)\n7"
    execution = interpreter.run_code(code, on_stdout=out.append, on_stderr=err.append, on_result=results.append)
    assert execution.logs.stderr == ["two\n"] and [message.line for message in out] == ["one\n"]
    assert [message.line for message in err] == ["two\n"] and err[0].error and results[0].text == "7"


@covers("interpreter.Sandbox.run_code(on_error)")
def test_an_error(interpreter):
    seen = []
    execution = interpreter.run_code("def fail():\n    raise ValueError('wrong')\nfail()", on_error=seen.append)
    assert (execution.error.name, execution.error.value) == ("ValueError", "wrong")
    assert "fail()" in execution.error.traceback and seen[0].name == "ValueError"


@covers("interpreter.Sandbox.run_code(envs)")
def test_variables(interpreter):
    code = "import os\nos.environ.get('GREETING')"
    assert interpreter.run_code(code, envs={"GREETING": "hello"}).text == "hello"
    assert interpreter.run_code(code).text in (None, "None")


@covers("interpreter.Sandbox.run_code(timeout)")
def test_a_timeout(interpreter):
    with pytest.raises(Exception, match="(?i)time"):
        interpreter.run_code("import time\ntime.sleep(600)", timeout=2)
    assert interpreter.run_code("1 + 1").text == "2"


@pytest.mark.parametrize(
    "language,code,expected",
    [("python", "1 + 1", "2"), ("javascript", "[1, 2].map((x) => x + 1).length", "2"), ("typescript", "const two: number = 2; two", "2")],
)
@covers("interpreter.Sandbox.run_code(language)")
def test_languages(interpreter, language, code, expected):
    execution = interpreter.run_code(code, language=language)
    assert execution.error is None and execution.text == expected


def test_bash(interpreter):
    assert interpreter.run_code("echo $((1 + 1))", language="bash").logs.stdout == ["2\n"]


@pytest.mark.parametrize("language", ["r", "java"])
@covers("interpreter.Sandbox.run_code(language)", differs="Python, JavaScript, TypeScript and Bash; R and Java are refused")
def test_languages_that_are_not_there(interpreter, language):
    with pytest.raises(SandboxException, match=language):
        interpreter.run_code("1", language=language)


@covers("interpreter.Sandbox.create_code_context", "interpreter.Sandbox.list_code_contexts", "interpreter.Sandbox.run_code(context)")
def test_contexts_are_apart(interpreter):
    context = interpreter.create_code_context(cwd="/tmp", language="python")
    assert (context.language, context.cwd) == ("python", "/tmp")
    assert interpreter.run_code("import os\nmine = os.getcwd()\nmine", context=context).text == "/tmp"
    assert interpreter.run_code("mine").error.name == "NameError"
    assert context.id in [found.id for found in interpreter.list_code_contexts()]


@covers("interpreter.Sandbox.restart_code_context", "interpreter.Sandbox.remove_code_context")
def test_contexts_end(interpreter):
    context = interpreter.create_code_context()
    interpreter.run_code("mine = 1", context=context)
    interpreter.restart_code_context(context)
    assert interpreter.run_code("'mine' in globals()", context=context).text == "False"
    interpreter.remove_code_context(context)
    assert context.id not in [found.id for found in interpreter.list_code_contexts()]
    with pytest.raises(NotFoundException):
        interpreter.run_code("1", context=context)


def test_a_chart(interpreter):
    code = "import matplotlib.pyplot as plt\nplt.bar(['A', 'B'], [3, 5], label='sales')\nplt.ylabel('Count')\nplt.title('Bars')\nplt.show()"
    execution = interpreter.run_code(code, timeout=120)
    assert execution.error is None, execution.error.traceback
    (result,) = [result for result in execution.results if result.png]
    assert base64.b64decode(result.png).startswith(b"\x89PNG")
    assert (result.chart.type.value, result.chart.title, result.chart.y_label) == ("bar", "Bars", "Count")
    assert [(bar.label, float(bar.value)) for bar in result.chart.elements] == [("A", 3), ("B", 5)]


def test_kinds_of_results(interpreter):
    table = interpreter.run_code("import pandas\npandas.DataFrame({'a': [1, 2]})", timeout=120)
    assert "<table" in table.results[0].html and table.results[0].data == {"a": [1, 2]}
    assert "html" in table.results[0].formats()


def test_what_is_inside_is_a_sandbox(interpreter):
    interpreter.files.write("/tmp/table.csv", "a,b\n1,2\n")
    assert interpreter.run_code("open('/tmp/table.csv').read().split()").text == "['a,b', '1,2']"
    assert interpreter.commands.run("echo here").stdout == "here\n"


def test_state_outlives_a_pause(interpreter):
    interpreter.run_code("kept = 41")
    interpreter.pause()
    interpreter.connect(timeout=900)
    assert interpreter.run_code("kept + 1").text == "42"
