"""The API's older calls, which today's SDKs do not make any more: older ones do, and so do people by hand."""

import datetime
import os

import pytest
from conftest import AGENT_PORT, wait_until
from plain import ask_api, exchange


@pytest.fixture
def make():
    made = []

    def create(**body):
        answer = ask_api("POST", "/sandboxes", {"templateID": "base", **body})
        assert answer.status == 201, answer
        made.append(answer.json())
        return made[-1]

    yield create
    for sandbox in made:
        ask_api("DELETE", f"/sandboxes/{sandbox['sandboxID']}")


def act(sandbox, action, body=None):
    return ask_api("POST", f"/sandboxes/{sandbox['sandboxID']}/{action}", body)


def info(sandbox):
    return ask_api("GET", f"/sandboxes/{sandbox['sandboxID']}").json()


def left_s(sandbox):
    end = datetime.datetime.fromisoformat(info(sandbox)["endAt"])
    return (end - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


def files(sandbox, method, path, body=None):
    """The agent's files, by whoever has the sandbox's token."""
    headers = {
        "E2b-Sandbox-Id": sandbox["sandboxID"], "E2b-Sandbox-Port": str(AGENT_PORT), "X-Access-Token": sandbox["envdAccessToken"],
        "Content-Type": "application/octet-stream",
    }
    return exchange(os.environ["E2B_SANDBOX_URL"], method, f"/files?path={path}", headers, body)


def test_create(make):
    sandbox = make(metadata={"kind": "older"}, envVars={"GREETING": "hello"})
    assert {"templateID", "sandboxID", "clientID", "envdVersion", "envdAccessToken"} <= set(sandbox)
    assert sandbox["alias"] == "base" and info(sandbox)["metadata"] == {"kind": "older"}
    # Who says nothing of a time-out has 15 seconds, and it is over then.
    assert left_s(sandbox) <= 15
    assert files(sandbox, "POST", "/tmp/mark", b"kept").status == 200
    assert files(sandbox, "GET", "/tmp/mark").body == b"kept"
    gone = lambda: ask_api("GET", f"/sandboxes/{sandbox['sandboxID']}").status == 404
    wait_until(gone, "the sandbox's end")


def test_pause_and_resume(make):
    sandbox = make(timeout=300)
    files(sandbox, "POST", "/dev/shm/mark", b"in memory")
    assert act(sandbox, "resume", {"timeout": 300}).status == 409
    assert act(sandbox, "pause").status == 204 and info(sandbox)["state"] == "paused"
    assert act(sandbox, "pause").status == 409
    assert files(sandbox, "GET", "/dev/shm/mark").status == 502
    resumed = act(sandbox, "resume", {"timeout": 600})
    assert resumed.status == 201 and resumed.json()["envdAccessToken"] == sandbox["envdAccessToken"]
    assert left_s(sandbox) > 400 and info(sandbox)["state"] == "running"
    assert files(sandbox, "GET", "/dev/shm/mark").body == b"in memory"


def test_connect(make):
    sandbox = make(timeout=300)
    ran = act(sandbox, "connect", {"timeout": 10})
    assert ran.status == 200 and ran.json()["sandboxID"] == sandbox["sandboxID"]
    # It only ever makes a sandbox last longer.
    assert left_s(sandbox) > 200
    act(sandbox, "pause")
    assert act(sandbox, "connect", {"timeout": 300}).status == 201


def test_refreshes_and_timeout(make):
    sandbox = make(timeout=100)
    assert act(sandbox, "refreshes", {"duration": 500}).status == 204 and left_s(sandbox) > 400
    assert act(sandbox, "refreshes", {"duration": 10}).status == 204 and left_s(sandbox) > 400
    assert act(sandbox, "refreshes").status == 204 and left_s(sandbox) > 400
    assert act(sandbox, "timeout", {"timeout": 50}).status == 204 and left_s(sandbox) <= 50
    for body in [{"timeout": -1}, {"timeout": "soon"}, {}]:
        refused = act(sandbox, "timeout", body)
        assert refused.status == 400 and "timeout" in refused.json()["message"], refused


def test_list(make):
    runs, paused = make(timeout=300, metadata={"list": "older"}), make(timeout=300, metadata={"list": "older"})
    act(paused, "pause")
    listed = ask_api("GET", "/sandboxes", metadata="list=older").json()
    assert [one["sandboxID"] for one in listed] == [runs["sandboxID"]]
    assert {"templateID", "alias", "startedAt", "endAt", "cpuCount", "memoryMB", "metadata", "state"} <= set(listed[0])


def test_kill(make):
    sandbox = make(timeout=300)
    place = f"/sandboxes/{sandbox['sandboxID']}"
    assert ask_api("DELETE", place).status == 204 and ask_api("DELETE", place).status == 404
    assert files(sandbox, "GET", "/etc/hostname").json() == {"sandboxId": sandbox["sandboxID"], "message": "The sandbox was not found", "code": 502}
