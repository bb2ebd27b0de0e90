"""Requests that no SDK makes."""

import http.client
import json

import pytest
from conftest import TOKEN, Agent


def ask(server, method, path, body=None, token=TOKEN):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    try:
        headers = {"X-Access-Token": token} if token else {}
        connection.request(method, path, body if body is None or isinstance(body, (bytes, str)) else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.headers.get_content_type(), response.read()
    finally:
        connection.close()


def problem(server, method, path, body=None, token=TOKEN):
    status, kind, text = ask(server, method, path, body, token)
    said = json.loads(text)
    assert kind == "application/json" and said["code"] == status
    return status, said["message"]


def test_health(server):
    assert ask(server, "GET", "/health")[0] == 200


@pytest.mark.parametrize("token", [None, "wrong", TOKEN + "x"])
def test_code_is_run_only_for_the_sandboxs_token(server, token):
    made = server.home / "made"
    for _ in range(2):
        # Also once it was shown.
        status, message = problem(server, "POST", "/execute", {"code": f"open({str(made)!r}, 'w')"}, token)
        assert status == 401 and "X-Access-Token" in message
        assert ask(server, "POST", "/execute", {"code": "1"})[0] == 200
    assert not made.exists()


def test_an_agent_that_fails_opens_nothing(make_server):
    agent = Agent()
    agent.broken = True
    server = make_server("--cold", "--agent", agent.url)
    assert problem(server, "POST", "/execute", {"code": "1"})[0] == 503
    agent.broken = False
    assert ask(server, "POST", "/execute", {"code": "1"})[0] == 200
    agent.shutdown()
    agent.server_close()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "`code` must be a string and is missing"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\xff".encode("latin1"), "not JSON"),
        ([], "must be a JSON object"),
        ({"code": 5}, "`code` must be a string"),
        ({"code": "1\0"}, "NUL character at 1"),
        ('{"code": "\\ud800"}', "half of a surrogate pair at 0"),
        ({"code": "1", "language": 5}, "`language` must be a string"),
        ({"code": "1", "context_id": "x", "language": "js"}, "exclude each other"),
        ({"code": "1", "env_vars": []}, "`env_vars` must be an object"),
        ({"code": "1", "env_vars": {"a b": "x"}}, "the name 'a b'"),
        ({"code": "1", "env_vars": {"A;rm": "x"}}, "the name 'A;rm'"),
        ({"code": "1", "env_vars": {"A": 5}}, "`env_vars.A`"),
        ({"code": "1", "env_vars": {"A": "\0"}}, "`env_vars.A`"),
    ],
)
def test_bad_executions_are_told_why(server, body, why):
    status, message = problem(server, "POST", "/execute", body)
    assert status == 400 and why in message


@pytest.mark.parametrize("context_id", ["absent", 5, {}, [], "x" * 100_000])
def test_an_unknown_context_is_not_found(server, context_id):
    status, message = problem(server, "POST", "/execute", {"code": "1", "context_id": context_id})
    assert status == 404 and "there is no context" in message and len(message) < 300


@pytest.mark.parametrize("cwd", [5, "rel", "/a\0b", "/absent", "/etc/passwd"])
def test_bad_folders_are_told_why(server, cwd):
    status, message = problem(server, "POST", "/contexts", {"cwd": cwd})
    assert status == 400 and message.startswith("`cwd`")


def test_huge_code_is_refused_and_large_code_runs(server):
    status, message = problem(server, "POST", "/execute", {"code": "#" * (17 << 20)})
    assert status == 413 and str(16 << 20) in message
    status, _, text = ask(server, "POST", "/execute", {"code": "#" * (10 << 20) + "\n'ran'"})
    assert status == 200 and '"text": "ran"' in text.decode()
    status, _, text = ask(server, "POST", "/execute", {"code": "#" * (2 << 20) + "\necho ran", "language": "bash"})
    assert status == 200 and '"text": "ran\\n"' in text.decode()


def test_other_paths_and_methods(server):
    assert problem(server, "GET", "/absent")[0] == 404
    assert problem(server, "GET", "/execute")[0] == 405
    assert problem(server, "PUT", "/contexts")[0] == 405


def test_each_line_is_json_and_none_is_blank(server):
    status, kind, text = ask(server, "POST", "/execute", {"code": "print('\\n\\n')\nfloat('nan')"})
    assert status == 200 and kind == "application/x-ndjson" and text.endswith(b"\n")
    lines = text[:-1].split(b"\n")
    assert all(json.loads(line)["type"] for line in lines)
    assert json.loads(lines[0])["type"] == "number_of_executions" and json.loads(lines[-1]) == {"type": "end_of_execution"}


def test_numbers_that_json_does_not_have(server):
    code = "from IPython.display import JSON\nimport pandas\nJSON({'a': [float('nan'), float('inf')]})"
    _, _, text = ask(server, "POST", "/execute", {"code": code})
    json.loads(text.splitlines()[1], parse_constant=pytest.fail)
