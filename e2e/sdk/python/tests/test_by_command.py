"""Sandboxes made by Hearth's own command, one option after the other: each is seen to do what it says, and the SDK sees it, too."""

import datetime
import json
import threading
import time
import urllib.parse

import pytest
from conftest import LIMIT_S, wait_until
from plain import closed, exchange


@pytest.fixture
def make(daemon):
    """Makes sandboxes by `hearth sandbox create`; gives what that tells of them."""
    made = []

    def create(*args, env=None):
        made.append(daemon.told("sandbox", "create", *args, env=env))
        return made[-1]

    yield create
    for sandbox in made:
        daemon.ran("sandbox", "kill", sandbox["id"])


def told(daemon, sandbox):
    return daemon.told("sandbox", "get", sandbox["id"])[0]


def run(daemon, sandbox, script):
    return daemon.hearth("sandbox", "exec", sandbox["id"], "sh", "-c", script)


def lasts(sandbox, seconds, since=None):
    """Whether it lasts for so long from the moment that it was made or resumed, which itself takes a while."""
    at = lambda field: datetime.datetime.fromisoformat(sandbox[field])
    return seconds - 5 <= (at("ends_at") - (since or at("started_at"))).total_seconds() <= seconds + 60


@pytest.mark.sync_only
def test_defaults(daemon, make, sdk):
    sandbox = make()
    assert (sandbox["template_name"], sandbox["state"], sandbox["on_timeout"]) == ("base", "running", "kill")
    assert (sandbox["auto_resume"], sandbox["keep_alive"], sandbox["private_traffic"]) == (False, False, False)
    assert lasts(sandbox, 300) and "network" not in sandbox and "metadata" not in sandbox
    assert sdk.Sandbox.get_info(sandbox["id"]).allow_internet_access is not False


@pytest.mark.sync_only
def test_env_and_metadata(daemon, make, sdk):
    metadata = ["--metadata", "user=ada", "--metadata", "app=žluť & co=1"]
    sandbox = make("-e", "GIVEN=a b=c", "--env", "FROM_HERE", "--env", "ABSENT_HERE", *metadata, env={"FROM_HERE": "taken"})
    assert run(daemon, sandbox, 'echo "$GIVEN/$FROM_HERE/${ABSENT_HERE-none}"') == "a b=c/taken/none\n"
    assert sdk.Sandbox.connect(sandbox["id"]).commands.run("echo $GIVEN").stdout == "a b=c\n"
    assert sdk.Sandbox.get_info(sandbox["id"]).metadata == {"user": "ada", "app": "žluť & co=1"}
    listed = lambda *args: [found["id"] for found in daemon.told("sandbox", "ls", *args)]
    assert listed("--metadata", "app=žluť & co=1", "--metadata", "user=ada") == [sandbox["id"]]
    assert sandbox["id"] not in listed("--metadata", "user=bea")


ENDS = {"kill": None, "pause": "paused", "pause_disk": "stopped"}


@pytest.mark.parametrize("action", ENDS)
def test_timeout_and_what_becomes_of_it(daemon, make, action):
    sandbox = make("--timeout", "15m", "--on-timeout", action)
    assert sandbox["on_timeout"] == action and lasts(sandbox, 900)
    run(daemon, sandbox, "echo on disk > ~/kept && echo in memory > /dev/shm/kept && sync")
    said = daemon.hearth("sandbox", "timeout", sandbox["id"], "1h")
    assert sandbox["id"] in said and "lasts" in said
    assert lasts(told(daemon, sandbox), 3600, since=datetime.datetime.now(datetime.timezone.utc))
    daemon.hearth("sandbox", "timeout", sandbox["id"], "1s")
    state = lambda: daemon.sandboxes().get(sandbox["id"], {}).get("state")
    wait_until(lambda: state() == ENDS[action], f"{action}")
    if action == "kill":
        assert "sandbox" in daemon.ran("sandbox", "get", sandbox["id"]).stderr
        return
    daemon.hearth("sandbox", "resume", "--timeout", "30m", sandbox["id"])
    assert lasts(told(daemon, sandbox), 1800)
    kept = run(daemon, sandbox, "cat ~/kept /dev/shm/kept 2>/dev/null; true")
    assert kept == ("on disk\nin memory\n" if action == "pause" else "on disk\n")


def test_timeout_of_nothing_ends_at_once(daemon, make):
    sandbox = make("--on-timeout", "kill")
    daemon.hearth("sandbox", "timeout", sandbox["id"], "0")
    wait_until(lambda: sandbox["id"] not in daemon.sandboxes(), "the end")


def ask(sandbox, port, headers=None):
    """Asks a port of a sandbox at its own URL."""
    url = urllib.parse.urlsplit(sandbox["url"].replace("PORT", str(port), 1))
    return exchange(f"http://127.0.0.1:{url.port}", "GET", "/", {"Host": url.netloc, **(headers or {})})


def test_auto_resume(daemon, make):
    resumes, stays = make("--auto-resume", "--on-timeout", "pause"), make("--on-timeout", "pause")
    assert resumes["auto_resume"] is True
    daemon.hearth("sandbox", "pause", resumes["id"], stays["id"])
    assert ask(resumes, 8000).json() == closed(resumes["id"], 8000)
    assert told(daemon, resumes)["state"] == "running"
    refused = ask(stays, 8000)
    assert refused.status == 502 and refused.json()["message"] == "The sandbox was not found"
    assert told(daemon, stays)["state"] == "paused"


def test_keep_alive(daemon, make):
    plain, kept = make("--timeout", "6s"), make("--keep-alive", "--timeout", "6s")
    assert kept["keep_alive"] is True
    # For longer than both were to last.
    until = time.monotonic() + 8
    while time.monotonic() < until:
        assert ask(kept, 8000).json() == closed(kept["id"], 8000)
        ask(plain, 8000)
        time.sleep(0.2)

    def only_the_other_ended():
        assert ask(kept, 8000).json() == closed(kept["id"], 8000)
        return plain["id"] not in daemon.sandboxes()

    wait_until(only_the_other_ended, "the end of the one that is not kept alive")
    wait_until(lambda: kept["id"] not in daemon.sandboxes(), "the end of the other")


def test_private(daemon, make):
    sandbox = make("--private")
    assert sandbox["private_traffic"] is True
    place = daemon.told("sandbox", "url", sandbox["id"], "8000")
    assert ask(sandbox, 8000).status == 403
    assert ask(sandbox, 8000, {"E2b-Traffic-Access-Token": "0" * 64}).status == 403
    shown = ask(sandbox, 8000, {"E2b-Traffic-Access-Token": place["traffic_token"]})
    assert shown.json() == closed(sandbox["id"], 8000)


@pytest.mark.sync_only
def test_url(daemon, make, sdk):
    sandbox = make()
    url = daemon.hearth("sandbox", "url", sandbox["id"][:20], "8000").strip()
    assert daemon.told("sandbox", "url", sandbox["id"], "8000") == {"url": url}
    place = urllib.parse.urlsplit(url)
    assert place.scheme == "http" and place.hostname.startswith(f"8000-{sandbox['id']}.")
    run(daemon, sandbox, "cd /etc && (python3 -m http.server 8000 >/dev/null 2>&1 &)")
    answer = lambda: exchange(f"http://127.0.0.1:{place.port}", "GET", "/hostname", {"Host": place.netloc})
    expected = run(daemon, sandbox, "cat /etc/hostname").encode()
    assert wait_until(lambda: answer().status == 200 and answer().body, "the server's answer") == expected
    assert sdk.Sandbox.connect(sandbox["id"]).get_host(8000).split(".")[0] == place.hostname.split(".")[0]
    for wrong in ["0", "65536", "http"]:
        assert daemon.ran("sandbox", "url", sandbox["id"], wrong).returncode == 125


@pytest.mark.sync_only
def test_network_rules(daemon, make, sdk):
    rules = ["--no-internet", "--allow", "192.0.2.0/24", "--allow", "198.51.100.7", "--deny", "192.0.2.128/25"]
    sandbox = make(*rules)
    expected = {"internet": False, "allow_out": ["192.0.2.0/24", "198.51.100.7"], "deny_out": ["192.0.2.128/25"]}
    assert sandbox["network"] == expected
    info = sdk.Sandbox.get_info(sandbox["id"])
    assert info.allow_internet_access is False and info.network["allow_out"] == expected["allow_out"]
    daemon.hearth("sandbox", "network", "--deny", "203.0.113.0/24", sandbox["id"])
    assert told(daemon, sandbox)["network"] == {"internet": True, "deny_out": ["203.0.113.0/24"]}
    daemon.hearth("sandbox", "network", sandbox["id"])
    assert "network" not in told(daemon, sandbox)
    refused = daemon.ran("sandbox", "create", "--allow", "example.com")
    assert refused.returncode == 1 and "0.0.0.0/0" in refused.stderr


@pytest.mark.sync_only
def test_sizes(daemon, make, sdk):
    sandbox = make("--cpus", "2", "--memory", "768m", "--disk", "5g")
    resources = sandbox["resources"]
    assert (resources["cpus"], resources["memory_mib"]) == (2, 768)
    cpus, memory_kib, disk_kib = map(int, run(daemon, sandbox, "nproc; awk '/^MemTotal/ {print $2}' /proc/meminfo; df -k / | awk 'END {print $2}'").split())
    assert cpus == 2 and 600 << 10 < memory_kib <= 768 << 10
    plain = make()
    # What the file system itself takes is less than the GiB by which the one is larger.
    assert disk_kib - int(run(daemon, plain, "df -k / | awk 'END {print $2}'")) > 800 << 10
    info = sdk.Sandbox.get_info(sandbox["id"])
    assert (info.cpu_count, info.memory_mb) == (2, 768)


def test_recover(daemon, make):
    """Effects of it are tests of Hearth's own."""
    assert make("--recover", "snapshot:2m")["recover"] == {"policy": "snapshot", "interval_s": 120}
    assert make("--recover", "no")["recover"].get("policy", "no") == "no"


def test_fork(daemon, make):
    sandbox = make("--metadata", "user=ada", "--timeout", "400s")
    run(daemon, sandbox, "echo in memory > /dev/shm/kept")
    forked = daemon.told("sandbox", "fork", "-n", "2", "--timeout", "200s", sandbox["id"])
    (third,) = daemon.hearth("sandbox", "fork", sandbox["id"]).split()
    copies = [copy["id"] for copy in forked["sandboxes"]] + [third]
    try:
        assert "failures" not in forked and len({sandbox["id"], *copies}) == 4
        for copy in [daemon.told("sandbox", "get", id)[0] for id in copies]:
            assert copy["metadata"] == {"user": "ada"} and run(daemon, copy, "cat /dev/shm/kept") == "in memory\n"
            assert lasts(copy, 400 if copy["id"] == third else 200)
        names = {run(daemon, {"id": id}, "cat /etc/hostname; cat /proc/sys/kernel/random/boot_id") for id in copies}
        assert len(names) == 3
    finally:
        daemon.hearth("sandbox", "kill", *copies)
    assert not set(copies) & set(daemon.machines())


def test_metrics(daemon, make):
    sandbox, other = make(), make()
    header, *rows = daemon.hearth("sandbox", "metrics", "--no-stream", sandbox["id"]).splitlines()
    assert header.split()[:4] == ["ID", "NAME", "CPU", "MEMORY"] and len(rows) == 1 and sandbox["id"] in rows[0]
    measure = lambda: daemon.told("sandbox", "metrics", "--no-stream", sandbox["id"][:20])
    before = measure()
    assert before["machine_name"] == sandbox["id"] and before["memory_limit_bytes"] == 512 << 20
    assert 0 < before["guest_memory_used_bytes"] < 512 << 20 and before["processes"] > 0
    run(daemon, sandbox, "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; head -c 50M /dev/zero > /dev/shm/held")
    after = measure()
    assert after["cpu_usec"] > before["cpu_usec"] and after["guest_memory_used_bytes"] > before["guest_memory_used_bytes"] + (40 << 20)
    rows = daemon.hearth("sandbox", "stats", "--no-stream", sandbox["id"], other["id"]).splitlines()[1:]
    assert [row.split()[1] for row in rows] == [sandbox["id"], other["id"]]
    assert daemon.ran("sandbox", "metrics", "--no-stream", "hearthnosuch").returncode == 1


def test_metrics_of_all_that_run(daemon, make):
    """Of whoever runs at that moment: it goes on when one ends, and tells of those that come."""
    first, second = make(), make()
    with daemon.begun("--json", "sandbox", "metrics") as telling:
        late = threading.Timer(2 * LIMIT_S, telling.kill)
        late.start()
        try:
            names = (json.loads(line)["machine_name"] for line in telling.stdout)
            until = lambda wanted: next((name for name in names if name == wanted["id"]), None)
            assert until(first) and until(second), telling.stderr.read()
            daemon.hearth("sandbox", "kill", first["id"])
            third = make()
            assert until(third) and until(second), telling.stderr.read()
        finally:
            late.cancel()
            telling.kill()
