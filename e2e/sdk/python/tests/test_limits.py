"""What is refused because a project has enough: by status, and by what tells the SDKs whether to ask again by themselves."""

import time
import uuid

import pytest
from conftest import wait_until
from e2b import RateLimitException, SandboxState
from plain import ask_api


@pytest.fixture
def project(daemon):
    """Makes projects with quotas; gives a key of each. They may make sandboxes of `base`."""
    made = []

    def make(*quotas):
        name = f"sdk-limits-{uuid.uuid4().hex[:8]}"
        daemon.hearth("project", "create", name, *quotas)
        made.append(name)
        return daemon.hearth("--project", name, "key", "create", "--role", "admin", "--name", name).splitlines()[0]

    daemon.hearth("template", "publish", "base")
    yield make
    daemon.hearth("template", "publish", "--private", "base")
    for name in made:
        for id in daemon.hearth("--project", name, "sandbox", "ls", "-q").split():
            daemon.hearth("--project", name, "sandbox", "kill", id)
        wait_until(lambda: not daemon.told("--project", name, "ps", "-a"), "the end of the machines")
        daemon.hearth("--project", name, "key", "rm", name)
        daemon.hearth("project", "rm", name)


def check(answer, status, again):
    """An error as E2B has it."""
    body = answer.json()
    assert (answer.status, body["code"], answer.headers["Should-Retry"]) == (status, status, again), answer
    assert body["message"] and answer.headers["Content-Type"] == "application/json"


def test_requests_in_a_second(sdk, project):
    key = project("--max-requests", "1")
    answers = []

    def one_is_refused():
        answers.append(ask_api("GET", "/v2/sandboxes", key=key))
        return answers[-1].status == 429

    wait_until(one_is_refused, "more requests than one a second")
    assert answers[0].status == 200
    check(answers[-1], 429, "true")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 10
    # So the SDK asks again by itself, after that time.
    for _ in range(3):
        assert sdk.Sandbox.list(api_key=key).next_items() == []


def test_more_machines_than_the_project_may_have(sdk, project):
    key = project("--max-machines", "1")
    first = sdk.Sandbox.create("default/base", timeout=300, api_key=key)
    wish = {"templateID": "default/base", "timeout": 60}
    for path in ["/sandboxes", "/v2/sandboxes"]:
        check(ask_api("POST", path, wish, key=key), 429, "false")
    # It is not asked for again, which would be in half a minute at the soonest.
    began = time.monotonic()
    with pytest.raises(RateLimitException, match="quota|may have"):
        sdk.Sandbox.create("default/base", api_key=key)
    assert time.monotonic() - began < 10
    assert first.kill() is True
    second = sdk.Sandbox.create("default/base", timeout=300, api_key=key)
    assert second.commands.run("echo here").stdout == "here\n"


def test_a_fork_of_which_a_part_fails(sdk, project):
    key = project("--max-machines", "3")
    sandbox = sdk.Sandbox.create("default/base", timeout=300, api_key=key)
    sandbox.files.write("/tmp/mark", "original")
    outcomes = sandbox.fork(count=3, timeout=100)
    copies = [one for one in outcomes if not isinstance(one, Exception)]
    errors = [one for one in outcomes if isinstance(one, Exception)]
    assert len(copies) == 2 and len(errors) == 1 and isinstance(errors[0], RateLimitException), outcomes
    assert [copy.files.read("/tmp/mark") for copy in copies] == ["original"] * 2
    # As a whole it has succeeded, and so says nothing of asking again.
    answer = ask_api("POST", f"/sandboxes/{sandbox.sandbox_id}/fork", {"count": 2, "timeout": 100}, key=key)
    assert answer.status == 201 and "Should-Retry" not in answer.headers
    assert [one["error"]["code"] for one in answer.json()] == [429, 429]
    assert sandbox.get_info().state == SandboxState.RUNNING
    assert sandbox.commands.run("echo on").stdout == "on\n"


def test_refusals_that_are_for_good(shared_sandbox):
    """They say nothing of asking again, as nothing would come of it."""
    id, nothing = shared_sandbox.sandbox_id, "sbx" + "0" * 26
    refusals = [
        (400, ask_api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 0})),
        (400, ask_api("GET", f"/sandboxes/{id}/metrics", start=2, end=1)),
        (401, ask_api("GET", "/v2/sandboxes", key="e2b_0123456789")),
        (404, ask_api("GET", f"/sandboxes/{nothing}")),
        (404, ask_api("DELETE", f"/sandboxes/{nothing}")),
        (404, ask_api("POST", "/v2/sandboxes", {"templateID": "hearth-no-such"})),
    ]
    for status, answer in refusals:
        check(answer, status, None)


def test_a_pause_of_what_is_paused(create):
    sandbox = create()
    sandbox.pause()
    check(ask_api("POST", f"/sandboxes/{sandbox.sandbox_id}/pause", {}), 409, None)
