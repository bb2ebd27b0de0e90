"""The example that runs an agent's code in a sandbox, as a user runs it: a program of its own, with packages of its own."""

import os
import pathlib
import re
import subprocess
import sys

import e2b
import pytest

MAIN = pathlib.Path(__file__).resolve().parents[4] / "examples/agent/main.py"
DEADLINE_S = 300


@pytest.fixture
def packages():
    if "EXAMPLE_PACKAGES" not in os.environ:
        print("SKIPPED: EXAMPLE_PACKAGES names no folder with the packages of examples/agent: run scripts/sdk-tests")
        pytest.skip("the packages of examples/agent are not there")
    return os.environ["EXAMPLE_PACKAGES"]


def test_an_agent_of_smolagents(packages, tmp_path):
    environment = {**os.environ, "PYTHONPATH": packages, "HOME": str(tmp_path)}
    ended = subprocess.run([sys.executable, MAIN], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    assert ended.returncode == 0, ended.stderr
    # Its data and its tool got there, the mistake was told of, and the table outlived the step that made it.
    assert "2  Saturday       330      6" in ended.stdout and "failed: KeyError: 'rate'" in ended.stdout
    answer = ended.stdout.partition("--- the answer\n")[2]
    assert "'day': 'Saturday', 'visitors_per_hour': 55.0" in answer, ended.stdout
    # What ran is a machine that has the sandbox's name, and it is gone.
    sandbox = re.search(r"'sandbox': '(sbx[a-z0-9]+)'", answer)[1]
    with pytest.raises(e2b.NotFoundException):
        e2b.Sandbox.get_info(sandbox)
