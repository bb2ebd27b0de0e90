"""What reaches a sandbox's ports, and what a sandbox reaches."""

import pytest
from conftest import wait_until
from covers import covers
from e2b import ALL_TRAFFIC, SandboxException
from plain import ask_port

PORT = 8123


def ask(sandbox, path="/", port=PORT, headers=None):
    """Asks a port by the gateway's address: status and body."""
    answer = ask_port(sandbox, port, path, headers)
    return answer.status, answer.body


def serve(sandbox):
    sandbox.commands.run(f"mkdir -p /tmp/www && echo served > /tmp/www/page && cd /tmp/www && exec python3 -m http.server {PORT}", background=True)


@covers("Sandbox.get_host")
def test_get_host_leads_to_a_port(shared_sandbox):
    assert shared_sandbox.get_host(PORT).startswith(f"{PORT}-{shared_sandbox.sandbox_id}.")
    status, body = ask(shared_sandbox)
    assert status == 502 and b"port is not open" in body
    serve(shared_sandbox)
    wait_until(lambda: ask(shared_sandbox, "/page") == (200, b"served\n"), "the server's answer")


@covers("Sandbox.create(network)")
def test_ports_that_want_a_token(create):
    sandbox = create(network={"allow_public_traffic": False})
    assert sandbox.traffic_access_token and sandbox.get_info().network["allow_public_traffic"] is False
    serve(sandbox)
    token = {"e2b-traffic-access-token": sandbox.traffic_access_token}
    wait_until(lambda: ask(sandbox, "/page", headers=token) == (200, b"served\n"), "the server's answer")
    for headers in [{}, {"e2b-traffic-access-token": "0" * 64}]:
        status, body = ask(sandbox, "/page", headers=headers)
        assert status in (401, 403) and b"served" not in body


@covers("Sandbox.create(allow_internet_access)", "Sandbox.create(network)")
def test_no_internet(create):
    sandbox = create(allow_internet_access=False)
    assert sandbox.get_info().allow_internet_access is False
    assert sandbox.commands.run("echo here").stdout == "here\n"


@covers("Sandbox.update_network", "Sandbox.create(network)")
def test_rules_are_told_and_replaced(sdk, create):
    sandbox = create(network={"allow_out": ["192.0.2.1"], "deny_out": lambda ctx: [ctx.all_traffic]})
    network = sandbox.get_info().network
    assert (network["allow_out"], network["deny_out"]) == (["192.0.2.1"], [ALL_TRAFFIC])
    sandbox.update_network({"deny_out": ["192.0.2.0/24"]})
    network = sandbox.get_info().network
    assert (network.get("allow_out") or [], network["deny_out"]) == ([], ["192.0.2.0/24"])
    sdk.Sandbox.update_network(sandbox.sandbox_id, {})
    assert not (sandbox.get_info().network or {}).get("deny_out")


def test_a_program_is_told_another_host(create):
    sandbox = create(network={"mask_request_host": "localhost:${PORT}"})
    assert sandbox.get_info().network["mask_request_host"] == "localhost:${PORT}"
    program = (
        "import http.server as h\n"
        "class Told(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200), self.end_headers(), self.wfile.write(self.headers['host'].encode())\n"
        "h.HTTPServer(('', 8000), Told).serve_forever()\n"
    )
    sandbox.files.write("/tmp/told.py", program)
    sandbox.commands.run("python3 /tmp/told.py", background=True)

    def told():
        status, body = ask(sandbox, port=8000)
        return body if status == 200 else None

    assert wait_until(told, "the program's answer") == b"localhost:8000"


def test_a_mask_is_a_host(create):
    with pytest.raises(SandboxException, match="maskRequestHost"):
        create(network={"mask_request_host": "no host"})


def test_names_want_everything_else_denied(create):
    with pytest.raises(SandboxException, match="0.0.0.0/0"):
        create(network={"allow_out": ["example.com"]})


@pytest.mark.parametrize(
    "network",
    [{"egress_proxy": {"address": "192.0.2.1:1080"}}, {"https_ports": [8443]}],
)
@covers("Sandbox.create(network)", differs="proxies for egress, rules and ports with TLS are refused by their names")
def test_what_of_networks_is_refused(create, network):
    with pytest.raises(SandboxException, match="is not offered"):
        create(network=network)
