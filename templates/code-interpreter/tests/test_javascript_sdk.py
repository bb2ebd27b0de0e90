"""Runs the JavaScript SDK's tests, sdk.test.cjs, against the server that all tests share."""

import os
import pathlib
import subprocess

from conftest import TOKEN


def test_the_javascript_sdk(server):
    script = pathlib.Path(__file__).with_name("sdk.test.cjs")
    environment = {**os.environ, "SERVER": server.url, "TOKEN": TOKEN}
    run = subprocess.run(
        ["node", "--test", "--test-force-exit", script], env=environment, capture_output=True, text=True, timeout=300
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
