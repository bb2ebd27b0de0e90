"""Contexts by the synchronous SDK."""

import os
import threading

import pytest
from conftest import is_alive, wait_until
from e2b import NotFoundException, SandboxException


def pid_of(sandbox, context):
    codes = {"python": "import os\nos.getpid()", "bash": "echo $$"}
    execution = sandbox.run_code(codes.get(context.language, "process.pid"), context=context)
    assert execution.error is None, execution.error
    return int(execution.text or execution.logs.stdout[0])


def test_contexts_are_apart(sandbox):
    one, other = sandbox.create_code_context(), sandbox.create_code_context()
    sandbox.run_code("mine = 1", context=one)
    assert sandbox.run_code("mine", context=other).error.name == "NameError"
    assert sandbox.run_code("mine").error.name == "NameError"
    assert sandbox.run_code("mine", context=one).text == "1"


@pytest.mark.parametrize("language", ["python", "js", "typescript", "bash"])
def test_a_context_has_its_folder(sandbox, tmp_path, language):
    context = sandbox.create_code_context(cwd=str(tmp_path), language=language)
    codes = {"python": "import os\nos.getcwd()", "bash": "pwd"}
    execution = sandbox.run_code(codes.get(language, "process.cwd()"), context=context)
    assert (execution.text or execution.logs.stdout[0].strip()) == str(tmp_path)
    assert context.cwd == str(tmp_path)


def test_contexts_are_listed(sandbox, server):
    context = sandbox.create_code_context(language="js")
    found = {listed.id: listed for listed in sandbox.list_code_contexts()}
    assert found[context.id].language == "javascript" and found[context.id].cwd == str(server.home)
    assert {"python", "javascript"} <= {listed.language for listed in found.values()}


@pytest.mark.parametrize("language", ["python", "js", "bash"])
def test_a_restart_loses_the_state(sandbox, language):
    context = sandbox.create_code_context(language=language)
    before = pid_of(sandbox, context)
    set_it, get_it = {
        "python": ("kept = 1", "'kept' in globals()"),
        "js": ("var kept = 1", "'kept' in globalThis"),
        "bash": ("kept=1", "echo ${kept-gone}"),
    }[language]
    sandbox.run_code(set_it, context=context)
    sandbox.restart_code_context(context)
    assert not is_alive(before)
    execution = sandbox.run_code(get_it, context=context)
    assert (execution.text or execution.logs.stdout[0].strip()) in ("False", "false", "gone")
    assert context.id in [listed.id for listed in sandbox.list_code_contexts()]


@pytest.mark.parametrize("language", ["python", "js", "bash"])
def test_removing_a_context_ends_its_processes(sandbox, language):
    context = sandbox.create_code_context(language=language)
    kernel = pid_of(sandbox, context)
    start = {
        "python": "import subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True).pid",
        "js": "require('child_process').spawn('sleep', ['1000'], { detached: true }).pid",
        "bash": "sleep 1000 >/dev/null 2>&1 & echo $!",
    }[language]
    execution = sandbox.run_code(start, context=context)
    child = int(execution.text or execution.logs.stdout[-1])
    assert is_alive(kernel) and is_alive(child)
    sandbox.remove_code_context(context.id)
    assert not is_alive(kernel)
    wait_until(lambda: not is_alive(child), "the child is gone", 5)
    with pytest.raises(NotFoundException, match=context.id):
        sandbox.run_code("1", context=context)


def begin(sandbox, code, context):
    """Runs code that prints as it begins; gives a function that waits for its execution."""
    started, found = threading.Event(), []
    options = {"context": context, "on_stdout": lambda _: started.set()}
    thread = threading.Thread(target=lambda: found.append(sandbox.run_code(code, **options)))
    thread.start()
    assert started.wait(60)

    def end():
        thread.join(60)
        return found[0]

    return end


def test_a_context_that_is_removed_ends_what_runs_in_it(sandbox):
    context = sandbox.create_code_context()
    end = begin(sandbox, "print('on', flush=True)\nimport time\ntime.sleep(1000)", context)
    sandbox.remove_code_context(context)
    error = end().error
    assert error.name == "ContextRemoved" and context.id in error.value


def test_a_context_that_is_restarted_ends_what_runs_in_it(sandbox):
    context = sandbox.create_code_context(language="js")
    end = begin(sandbox, "console.log('on'); while (true);", context)
    sandbox.restart_code_context(context)
    assert end().error.name == "ContextRestarted"
    assert sandbox.run_code("1 + 1", context=context).text == "2"


def test_the_own_context_of_a_language_comes_again(sandbox):
    (own,) = [context for context in sandbox.list_code_contexts() if context.language == "javascript"][:1]
    sandbox.run_code("var kept = 1", language="js")
    sandbox.remove_code_context(own)
    assert sandbox.run_code("'kept' in globalThis", language="js").text == "false"


def test_executions_of_a_context_wait_in_line_and_others_do_not(sandbox, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    context = sandbox.create_code_context()
    sandbox.run_code("order = []", context=context)
    end = begin(sandbox, f"print('on', flush=True)\nopen({str(gate)!r}).read()\norder.append('first')", context)
    second = threading.Thread(target=sandbox.run_code, args=("order.append('second')",), kwargs={"context": context})
    second.start()
    # Another context is not kept up.
    assert sandbox.run_code("1 + 1").text == "2"
    assert sandbox.run_code("echo here", language="bash").logs.stdout == ["here\n"]
    assert second.is_alive()
    gate.write_text("")
    end()
    second.join(60)
    assert sandbox.run_code("order", context=context).text == "['first', 'second']"


def test_contexts_that_are_gone_leave_nothing_open(sandbox, server):
    def use_some():
        for language in ("python", "js", "bash"):
            context = sandbox.create_code_context(language=language)
            sandbox.run_code("echo 1" if language == "bash" else "1", context=context)
            sandbox.restart_code_context(context)
            sandbox.remove_code_context(context)

    def open_files():
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    use_some()
    before = open_files()
    for _ in range(3):
        use_some()
    wait_until(lambda: open_files() <= before + 3, "files were closed", 10)


def test_unknown_contexts_are_not_found(sandbox):
    for call in (sandbox.remove_code_context, sandbox.restart_code_context):
        with pytest.raises(NotFoundException, match="no context 'absent'"):
            call("absent")


def test_a_folder_that_is_absent_is_refused(sandbox):
    with pytest.raises(SandboxException, match="is not a folder"):
        sandbox.create_code_context(cwd="/absent")
    with pytest.raises(SandboxException, match="not an absolute path"):
        sandbox.create_code_context(cwd="relative")


def test_there_is_a_bound(make_server):
    from e2b_code_interpreter import Sandbox

    sandbox = Sandbox(**make_server("--cold", "--agent", "", "--bash", "/bin/false").opts())
    for _ in range(62):
        sandbox.create_code_context(language="bash")
    with pytest.raises(SandboxException, match="429.*64 contexts"):
        sandbox.create_code_context(language="bash")
