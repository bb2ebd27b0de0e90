"""JavaScript, TypeScript and Bash cells by the synchronous SDK."""

import base64

import pytest
from e2b import InvalidArgumentException, SandboxException


def run(sandbox, language, code, **options):
    execution = sandbox.run_code(code, language=language, **options)
    assert execution.error is None, f"{execution.error.name}: {execution.error.value}\n{execution.error.traceback}"
    return execution


@pytest.mark.parametrize("name", ["js", "javascript", "JavaScript"])
def test_javascript_keeps_state(sandbox, name):
    run(sandbox, name, "let kept = 1; const fixed = 2; class Thing { size() { return 3; } }; function plus(n) { return n + 1; }")
    assert run(sandbox, name, "kept += fixed + new Thing().size(); plus(kept)").text == "7"
    # A cell can be run twice.
    run(sandbox, name, "const fixed = 2; let kept = 1; class Thing {}")


def test_javascript_awaits_and_resolves(sandbox):
    assert run(sandbox, "js", "const later = await Promise.resolve(5); later + 1").text == "6"
    assert run(sandbox, "js", "const get = async () => ({ got: [1, 2] }); get()").text == "{ got: [ 1, 2 ] }"
    assert run(sandbox, "js", "for await (const n of (async function* () { yield 1; })()) console.log(n)").logs.stdout == ["1\n"]


def test_javascript_output(sandbox):
    code = (
        "console.log('out', { a: 1}); console.error('err');\n"
        "require('child_process').execSync('echo child', { stdio: 'inherit' }); 'text'"
    )
    execution = run(sandbox, "js", code)
    assert "".join(execution.logs.stdout) == "out { a: 1 }\nchild\n" and execution.logs.stderr == ["err\n"]
    assert execution.text == "text"
    assert run(sandbox, "js", "undefined").results == []


def test_javascript_errors(sandbox):
    error = sandbox.run_code("function broken() {\n  throw new TypeError('bad thing');\n}\nbroken()", language="js").error
    assert (error.name, error.value) == ("TypeError", "bad thing")
    assert "at broken (cell-" in error.traceback
    assert sandbox.run_code("let = ;", language="js").error.name == "SyntaxError"
    error = sandbox.run_code("await Promise.reject(new RangeError('late'))", language="js").error
    assert (error.name, error.value) == ("RangeError", "late")
    error = sandbox.run_code("throw 'only text'", language="js").error
    assert (error.name, error.value) == ("string", "only text")
    # Errors of callbacks belong to nobody, and end nothing.
    late = run(
        sandbox, "js", "setTimeout(() => { throw new Error('later'); }, 1); await new Promise((done) => setTimeout(done, 50)); 1"
    )
    assert "Uncaught Error: later" in "".join(late.logs.stderr) and late.text == "1"


def test_javascript_imports(sandbox, server):
    (server.home / "beside.mjs").write_text("export default 'the default'; export const named = 'by name';\n")
    code = (
        "import fs, { existsSync as exists } from 'node:fs';\nimport * as path from 'path';\n"
        "import chosen, { named } from './beside.mjs';\nconst os = await import('os');\nexport const joined = path.join('a', 'b');\n"
        "[typeof fs.readFileSync, exists('/'), joined, chosen, named, os.platform()].join()"
    )
    assert run(sandbox, "js", code).text == "function,true,a/b,the default,by name,linux"
    assert run(sandbox, "js", "path.basename('/x/y')").text == "y"
    package = server.home / "node_modules/only-esm"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "only-esm", "type": "module", "exports": {"import": "./it.js"}}')
    (package / "it.js").write_text("export const from = 'a package';\n")
    assert run(sandbox, "js", "import { from } from 'only-esm'; from").text == "a package"
    assert "missing-package" in sandbox.run_code("import 'missing-package'", language="js").error.value


def test_javascript_shows(sandbox):
    png = base64.b64encode(b"\x89PNG").decode()
    code = (
        "const as = (bundle) => ({ [Symbol.for('Jupyter.display')]: () => bundle });\n"
        f"display(as({{ 'image/png': '{png}' }}));\ndisplay('shown');\nas({{ 'text/html': '<b>x</b>', 'text/plain': 'x' }})"
    )
    image, text, main = run(sandbox, "js", code).results
    assert image.png == png and not image.is_main_result and text.text == "shown"
    assert main.is_main_result and main.html == "<b>x</b>" and main.text == "x"


def test_typescript(sandbox):
    code = (
        "enum Size { Small = 1, Large }\ninterface Thing { size: Size; label?: string }\ntype Things = Thing[];\n"
        "const things: Things = [{ size: Size.Large }];\nfunction first<T>(all: T[]): T { return all[0]!; }\nfirst(things).size as number"
    )
    assert run(sandbox, "ts", code).text == "2"
    assert (
        run(sandbox, "typescript", "const again: number = things.length; await Promise.resolve(again satisfies number)").text
        == "1"
    )
    imports = "import type { Stats } from 'fs';\nimport { sep } from 'path';\nconst none: Stats | undefined = undefined; sep"
    assert run(sandbox, "ts", imports).text == "/"
    error = sandbox.run_code("const ok: number = 1;\nthrow new Error('typed')", language="ts").error
    assert error.value == "typed" and ".ts:2:" in error.traceback
    assert sandbox.run_code("let x: = 1", language="ts").error.name == "SyntaxError"


def test_typescript_and_javascript_are_apart(sandbox):
    run(sandbox, "js", "globalThis.mine = 'js'")
    assert run(sandbox, "ts", "typeof (globalThis as any).mine").text == "undefined"


def test_bash_keeps_state(sandbox):
    run(sandbox, "bash", 'cd /usr; value=kept; export shown=yes; greet() { echo "hello $1"; }')
    execution = run(sandbox, "bash", "pwd; echo $value; greet you; bash -c 'echo $shown'")
    assert "".join(execution.logs.stdout) == "/usr\nkept\nhello you\nyes\n"
    assert execution.logs.stderr == [] and execution.results == []
    run(sandbox, "bash", 'cd "$HOME"')


def test_bash_errors(sandbox):
    execution = sandbox.run_code("echo before; echo problem >&2; (exit 7)", language="bash")
    assert (execution.error.name, execution.error.value) == ("ExitStatus", "7")
    assert execution.logs.stdout == ["before\n"] and execution.logs.stderr == ["problem\n"]
    for broken in ("echo 'open", "if true; then", "done", "cat <<END"):
        execution = sandbox.run_code(broken, language="bash")
        assert execution.error or execution.logs.stderr, broken
    assert run(sandbox, "bash", "echo fine").logs.stdout == ["fine\n"]


def test_bash_that_exits_begins_anew(sandbox):
    execution = sandbox.run_code("lost=1; exit 3", language="bash")
    assert execution.error.name == "KernelDied" and "exit code 3" in execution.error.value
    assert run(sandbox, "bash", "echo [$lost]").logs.stdout == ["[]\n"]


def test_bash_reads_no_input_of_others(sandbox):
    assert run(sandbox, "bash", "cat; read line; echo after").logs.stdout == ["after\n"]


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("js", "console.log([process.env.MINE, process.env.OF_THE_SANDBOX, process.env.FROM_THE_IMAGE].join('|'))"),
        ("ts", "console.log([process.env.MINE, process.env.OF_THE_SANDBOX, process.env.FROM_THE_IMAGE].join('|'))"),
        ("bash", 'echo "${MINE-}|$OF_THE_SANDBOX|$FROM_THE_IMAGE"'),
    ],
)
def test_variables_of_one_execution(sandbox, language, code):
    envs = {"MINE": 'it\'s "$me"\nand `more`', "FROM_THE_IMAGE": "no"}
    execution = run(sandbox, language, code, envs=envs)
    assert "".join(execution.logs.stdout) == 'it\'s "$me"\nand `more`|given at its creation|no\n'
    assert "".join(run(sandbox, language, code).logs.stdout) == "|given at its creation|yes\n"


@pytest.mark.parametrize("language", ["r", "java", "cobol"])
def test_other_languages_are_refused(sandbox, language):
    with pytest.raises(SandboxException, match="python, javascript, typescript, bash"):
        sandbox.run_code("1", language=language)
    with pytest.raises(SandboxException, match=f"'{language}' is not offered"):
        sandbox.create_code_context(language=language)


def test_context_and_language_exclude_each_other(sandbox):
    with pytest.raises(InvalidArgumentException):
        sandbox.run_code("1", language="js", context=sandbox.create_code_context())
