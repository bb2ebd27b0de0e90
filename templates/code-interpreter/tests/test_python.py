"""Python cells by the synchronous SDK."""

import base64
import json

from conftest import wait_until


def text_of(execution):
    assert execution.error is None, execution.error.traceback
    return execution.text


def test_state_stays_between_cells(sandbox):
    first = sandbox.run_code("numbers = [1, 2]\nprint('made')")
    assert first.logs.stdout == ["made\n"] and first.results == [] and first.error is None
    second = sandbox.run_code("numbers.append(3); numbers")
    assert text_of(second) == "[1, 2, 3]"
    assert second.results[0].is_main_result
    assert second.execution_count == first.execution_count + 1


def test_that_old_results_are_forgotten_is_no_output(sandbox):
    context = sandbox.create_code_context()
    sandbox.run_code("get_ipython().displayhook.cache_size = 3", context=context)
    for n in range(6):
        execution = sandbox.run_code(f"{n}", context=context)
        assert (execution.text, execution.logs.stderr) == (str(n), [])
    assert int(text_of(sandbox.run_code("len(Out)", context=context))) <= 3


def test_a_string_is_its_own_text(sandbox):
    assert text_of(sandbox.run_code("'it is ' + 'text'")) == "it is text"
    assert text_of(sandbox.run_code('"it\'s"')) == '"it\'s"'


def test_an_empty_cell_has_no_result(sandbox):
    execution = sandbox.run_code("")
    assert execution.results == [] and execution.error is None and execution.logs.stdout == []


def test_await_at_the_top_level(sandbox):
    assert text_of(sandbox.run_code("import asyncio\nawait asyncio.sleep(0.01, 'waited')")) == "waited"


def test_tasks_go_on_between_cells(sandbox):
    sandbox.run_code(
        "import asyncio\nticks = []\nasync def tick():\n    while True:\n        ticks.append(1)\n        await asyncio.sleep(0.01)\n"
        "task = asyncio.create_task(tick())"
    )
    wait_until(lambda: int(text_of(sandbox.run_code("len(ticks)"))) > 3, "the task ran")
    sandbox.run_code("task.cancel()")


def test_output_of_both_streams_with_callbacks(sandbox):
    out, err, results = [], [], []
    execution = sandbox.run_code(
        "import sys, os\nprint('one')\nprint('two', file=sys.stderr)\nos.system('echo three')\n7",
        on_stdout=out.append,
        on_stderr=err.append,
        on_result=results.append,
    )
    assert "".join(execution.logs.stdout) == "one\nthree\n"
    assert [message.line for message in err] == ["two\n"] and err[0].error
    assert results[0].text == "7"
    assert out[0].timestamp > 1_600_000_000 * 10**9


def test_an_error_has_name_value_and_traceback(sandbox):
    seen = []
    execution = sandbox.run_code("def broken():\n    return 1 / 0\nprint('before')\nbroken()", on_error=seen.append)
    assert (execution.error.name, execution.error.value) == ("ZeroDivisionError", "division by zero")
    assert "broken()" in execution.error.traceback and seen == [execution.error]
    assert execution.logs.stdout == ["before\n"]
    assert sandbox.run_code("print(").error.name in ("SyntaxError", "_IncompleteInputError")


def test_display_comes_before_the_main_result(sandbox):
    execution = sandbox.run_code(
        "from IPython.display import display, HTML, Markdown, Latex, JSON, SVG, Javascript\n"
        "display(HTML('<b>bold</b>'))\ndisplay(Markdown('# head'))\ndisplay(Latex('$x$'))\ndisplay(JSON({'a': [1]}))\n"
        "display(Javascript('alert(1)'))\ndisplay(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))\n"
        "display({'application/x-own': 'mine', 'text/plain': 'own'}, raw=True)\n'last'"
    )
    assert execution.error is None
    html, markdown, latex, json_, javascript, svg, own, last = execution.results
    assert html.html == "<b>bold</b>" and not html.is_main_result
    assert markdown.markdown == "# head" and latex.latex == "$x$" and json_.json == {"a": [1]}
    assert javascript.javascript.strip() == "alert(1)" and svg.svg.startswith("<svg")
    assert own.extra == {"application/x-own": "mine"} and "application/x-own" in own.formats()
    assert last.is_main_result and execution.text == "last"


def test_a_table_is_html_and_data(sandbox):
    execution = sandbox.run_code(
        "import pandas\npandas.DataFrame({'name': ['a', 'b'], 'size': [1, None], 'at': pandas.to_datetime(['2024-01-02', None])})"
    )
    (table,) = execution.results
    assert table.is_main_result and "<table" in table.html
    assert table.data == {"name": ["a", "b"], "size": [1.0, None], "at": ["2024-01-02T00:00:00", None]}


def test_a_large_table_is_shown_without_data(sandbox):
    (table,) = sandbox.run_code("import numpy, pandas\npandas.DataFrame(numpy.zeros((500_000, 2)))").results
    assert "500000 rows" in table.html and table.data is None


def test_an_image_is_png(sandbox):
    (image,) = sandbox.run_code("from PIL import Image\nImage.new('RGB', (4, 3))").results
    assert base64.b64decode(image.png).startswith(b"\x89PNG")


def test_variables_of_one_execution(sandbox):
    code = "import os\n[os.environ.get(name) for name in ('MINE', 'OF_THE_SANDBOX', 'FROM_THE_IMAGE')]"
    assert text_of(sandbox.run_code(code, envs={"MINE": 'it\'s "me"', "FROM_THE_IMAGE": "no"})) == repr(
        ['it\'s "me"', "given at its creation", "no"]
    )
    assert text_of(sandbox.run_code(code)) == "[None, 'given at its creation', 'yes']"
    # Also after an error.
    sandbox.run_code("1/0", envs={"MINE": "x"})
    assert text_of(sandbox.run_code(code)) == "[None, 'given at its creation', 'yes']"


def test_shell_escapes_and_magics(sandbox):
    execution = sandbox.run_code("!echo from the shell\n%env FROM_THE_IMAGE")
    assert "".join(execution.logs.stdout).split() == ["from", "the", "shell"] and execution.text == "yes"


def test_input_is_refused_and_does_not_hang(sandbox):
    assert sandbox.run_code("input('? ')").error.name == "StdinNotImplementedError"


def test_cells_do_not_see_our_modules(sandbox, server):
    where = json.loads(text_of(sandbox.run_code("import json, sys, os\njson.dumps([sys.path, os.getcwd()])")))
    assert not [path for path in where[0] if "opt/python" in path or "opt/server" in path]
    assert where[1] == str(server.home)
    (server.home / "beside.py").write_text("value = 'imported'\n")
    assert text_of(sandbox.run_code("import beside\nbeside.value")) == "imported"


def test_text_of_all_alphabets(sandbox):
    assert text_of(sandbox.run_code("print('Größe 大きさ 🔥')\n'Größe 大きさ 🔥'")) == "Größe 大きさ 🔥"
