"""What a sandbox's start command writes, as both calls of the API and Hearth's own command tell it; and what it used, over time."""

import datetime
import json
import threading
import time
import uuid

import e2b
import pytest
from conftest import LIMIT_S, wait_until
from plain import ask_api

# Whole lines on both streams, one of them an object with fields.
TALKS = """
echo '{"message": "begun", "pid": 7, "logger": "talker"}'
i=0
while :; do i=$((i + 1)); echo "line $i"; echo "problem $i" >&2; sleep 0.2; done
"""


@pytest.fixture(scope="module")
def talker(daemon):
    """A sandbox that has booted, so that its start command is its machine's own program."""
    name = f"sdk-talker-{uuid.uuid4().hex[:8]}"
    template = e2b.Template().from_image("hearth/template-base").set_start_cmd(TALKS, e2b.wait_for_timeout(100))
    e2b.Template.build(template, name, cpu_count=1, memory_mb=512)
    sandbox = e2b.Sandbox.create(name, timeout=900)
    sandbox.pause(mode="filesystem")
    sandbox.connect(timeout=900)
    yield sandbox
    sandbox.kill()
    daemon.hearth("template", "rm", name)


def logs(sandbox, **parameters):
    """By the newer call."""
    answer = ask_api("GET", f"/v2/sandboxes/{sandbox.sandbox_id}/logs", **parameters)
    assert answer.status == 200, answer
    return answer.json()["logs"]


def at_ms(entry):
    at = datetime.datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00"))
    return int(at.timestamp() * 1000)


def written(sandbox, count):
    """Waits for so many lines of each stream."""
    said = lambda: [entry["message"] for entry in logs(sandbox)]
    wait_until(lambda: f"line {count}" in said() and f"problem {count}" in said(), f"line {count}")


def test_both_calls_tell_the_same(talker):
    written(talker, 5)
    old = ask_api("GET", f"/sandboxes/{talker.sandbox_id}/logs", limit=7).json()
    new = logs(talker, limit=7)
    assert old["logEntries"] == new and len(new) == 7
    assert [line["timestamp"] for line in old["logs"]] == [entry["timestamp"] for entry in new]
    assert all(set(entry) == {"timestamp", "level", "message", "fields"} for entry in new)
    # An object tells its fields.
    assert (new[0]["message"], new[0]["fields"]) == ("begun", {"pid": "7", "logger": "talker"})
    # In the older call each line is one, with what E2B's command line wants of it.
    objects = [json.loads(line["line"]) for line in old["logs"]]
    assert [(one["message"], one["level"]) for one in objects] == [(entry["message"], entry["level"]) for entry in new]
    assert objects[0]["pid"] == 7 and [one["logger"] for one in objects] == ["talker"] + [""] * 6


def test_start_and_limit(talker):
    written(talker, 10)
    entries = logs(talker)
    middle = at_ms(entries[len(entries) // 2])
    for call in ["", "/v2"]:
        later = ask_api("GET", f"{call}/sandboxes/{talker.sandbox_id}/logs", start=middle, limit=4).json()
        later = later["logEntries" if not call else "logs"]
        assert len(later) == 4 and at_ms(later[0]) == middle
        assert [at_ms(entry) for entry in later] == sorted(at_ms(entry) for entry in later)
    future = int(time.time() * 1000) + 3_600_000
    assert logs(talker, start=future) == []
    assert logs(talker, limit=0) == []
    # As the SDKs' packages go on: from the last that was seen.
    last = logs(talker)[-1]
    wait_until(lambda: len(logs(talker, cursor=at_ms(last) + 1)) > 2, "further lines")


def test_direction_level_and_search(talker):
    written(talker, 5)
    newest = logs(talker, direction="backward", limit=3)
    times = [at_ms(entry) for entry in newest]
    assert len(newest) == 3 and times == sorted(times, reverse=True)
    oldest = logs(talker, limit=1)[0]
    assert [entry["message"] for entry in logs(talker, direction="backward", cursor=at_ms(oldest))][-1] == oldest["message"]
    problems = logs(talker, level="warn")
    assert problems and all(entry["message"].startswith("problem ") and entry["level"] == "warn" for entry in problems)
    assert any(entry["level"] == "info" for entry in logs(talker, level="info"))
    assert [entry["message"] for entry in logs(talker, search="line 3", limit=1)] == ["line 3"]
    for wrong in [{"direction": "up"}, {"level": "loud"}, {"limit": -1}, {"start": "yesterday"}]:
        answer = ask_api("GET", f"/v2/sandboxes/{talker.sandbox_id}/logs", **wrong)
        assert answer.status == 400 and next(iter(wrong)) in answer.json()["message"], answer


def test_logs_of_nobody():
    for call in ["", "/v2"]:
        assert ask_api("GET", f"{call}/sandboxes/sbx{'0' * 26}/logs").status == 404


def test_logs_by_hearths_own_command(daemon, talker):
    written(talker, 5)
    tail = daemon.ran("sandbox", "logs", "-n", "6", talker.sandbox_id)
    assert tail.returncode == 0 and "line " in tail.stdout and "problem " in tail.stderr
    assert len((tail.stdout + tail.stderr).splitlines()) == 6
    whole = daemon.hearth("sandbox", "logs", talker.sandbox_id[:20])
    assert whole.splitlines()[0].startswith('{"message"') and "line 1\n" in whole
    assert "line 1\n" not in daemon.hearth("sandbox", "logs", "--since", "0s", talker.sandbox_id)
    records = [json.loads(line) for line in daemon.hearth("--json", "sandbox", "logs", "-n", "3", talker.sandbox_id).splitlines()]
    assert len(records) == 3 and {record["stream"] for record in records} <= {"stdout", "stderr"}


def test_logs_that_are_followed(daemon, talker):
    """Until the sandbox's end, which is theirs."""
    (copy,) = talker.fork(count=1, timeout=300)
    with daemon.begun("sandbox", "logs", "-f", "-n", "0", copy.sandbox_id) as following:
        late = threading.Timer(LIMIT_S, following.kill)
        late.start()
        try:
            first, *_, last = [following.stdout.readline() for _ in range(5)]
            assert first.startswith("line ") and int(last.split()[1]) == int(first.split()[1]) + 4
        finally:
            copy.kill()
            following.stdout.read()
            late.cancel()
        assert following.wait(LIMIT_S) == 0, following.stderr.read()


def test_metrics_from_start_to_end(talker):
    """Each asking measures anew, a second after the last time at the soonest."""
    measured = lambda **times: ask_api("GET", f"/sandboxes/{talker.sandbox_id}/metrics", **times).json()
    wait_until(lambda: len(measured()) >= 4, "four measurements")
    seconds = [one["timestampUnix"] for one in measured()]
    assert seconds == sorted(seconds)
    start, end = seconds[1], seconds[2]
    within = [one["timestampUnix"] for one in measured(start=start, end=end)]
    assert within and within == [second for second in seconds if start <= second <= end]
    assert min(one["timestampUnix"] for one in measured(start=start)) == start
    assert max(one["timestampUnix"] for one in measured(end=end)) == end
    assert measured(start=1, end=2) == []
    info = talker.get_metrics(start=datetime.datetime.fromtimestamp(start), end=datetime.datetime.fromtimestamp(end))
    assert [int(one.timestamp.timestamp()) for one in info] == within
    many = ask_api("GET", "/sandboxes/metrics", sandbox_ids=f"{talker.sandbox_id},sbx{'0' * 26}").json()["sandboxes"]
    assert list(many) == [talker.sandbox_id] and many[talker.sandbox_id]["timestampUnix"] >= end
