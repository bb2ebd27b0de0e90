"""What changes when the machine goes on from a snapshot: the agent writes another generation, and may have other variables."""

import pytest
from conftest import Agent
from e2b_code_interpreter import Sandbox


@pytest.fixture(scope="module")
def restored(make_server):
    """A server of its own, whose generation a test may change."""
    agent = Agent()
    server = make_server("--cold", "--agent", agent.url)
    yield server, agent, Sandbox(**server.opts())
    agent.shutdown()
    agent.server_close()


# Each draws after it was seeded, as a process does whose memory came from a snapshot.
DRAWS = {
    "python": (
        "import random, numpy, tempfile\nrandom.seed(1)\nnumpy.random.seed(1)",
        "[random.random(), float(numpy.random.rand())]",
    ),
    "js": (
        "Math.random = () => 0.5;",
        "Math.random() !== 0.5 && Math.random() !== Math.random() && Math.random() < 1",
    ),
}


def test_python_draws_anew(restored):
    server, _, sandbox = restored
    seed, draw = DRAWS["python"]
    server.generation.write_text("first\n")
    first = sandbox.run_code(f"{seed}\n{draw}").text
    assert sandbox.run_code(f"{seed}\n{draw}").text == first
    sandbox.run_code(seed)
    assert sandbox.run_code(draw).text == first
    sandbox.run_code(seed)
    server.generation.write_text("second\n")
    second = sandbox.run_code(draw).text
    assert not set(second.strip("[]").split(", ")) & set(first.strip("[]").split(", "))
    # Once: a cell's own seed holds from then on.
    sandbox.run_code(seed)
    assert sandbox.run_code(draw).text == first


def test_javascript_draws_anew(restored):
    server, _, sandbox = restored
    seed, draw = DRAWS["js"]
    sandbox.run_code(seed, language="js")
    assert sandbox.run_code(draw, language="js").text == "false"
    server.generation.write_text("third\n")
    assert sandbox.run_code(draw, language="js").text == "true"


@pytest.mark.parametrize(
    ("language", "code", "change", "forget"),
    [
        ("python", "import os\nprint(os.environ.get('GIVEN'))", "os.environ['GIVEN'] = 'mine'", "del os.environ['GIVEN']"),
        ("js", "console.log(process.env.GIVEN ?? 'None')", "process.env.GIVEN = 'mine'", "delete process.env.GIVEN"),
        ("bash", "echo ${GIVEN-None}", "GIVEN=mine", "unset GIVEN"),
    ],
)
def test_variables_are_asked_for_once_a_generation(restored, language, code, change, forget):
    server, agent, sandbox = restored
    agent.variables = {}
    server.generation.write_text(f"fourth {language}\n")

    def printed():
        return "".join(sandbox.run_code(code, language=language).logs.stdout).strip()

    assert printed() == "None"
    agent.variables, asked = {"GIVEN": "at creation"}, agent.asked
    assert printed() == "None" and agent.asked == asked
    server.generation.write_text(f"fifth {language}\n")
    assert printed() == "at creation" and agent.asked == asked + 1
    # What a cell changes stays changed.
    sandbox.run_code(change, language=language)
    assert printed() == "mine" and agent.asked == asked + 1
    sandbox.run_code(forget, language=language)


def test_without_an_agent_code_runs(make_server):
    sandbox = Sandbox(**make_server("--cold", "--agent", "http://127.0.0.1:9").opts())
    assert sandbox.run_code("1 + 1").text == "2"
