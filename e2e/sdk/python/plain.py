"""What a client that is no SDK is answered: by the API, and by ports of sandboxes."""

import http.client
import json
import os
import urllib.parse
from typing import NamedTuple

TIMEOUT_S = 60


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)


def exchange(url, method, path, headers, body=None):
    """One request on a connection of its own."""
    server = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(server.hostname, server.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def ask_api(method, path, body=None, key=None, url=None, **parameters):
    """Asks the API, by the SDK's own key unless another is named."""
    headers = {"X-API-KEY": key or os.environ["E2B_API_KEY"]}
    if body is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(body)
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    return exchange(url or os.environ["E2B_API_URL"], method, path + query, headers, body)


def ask_port(sandbox, port, path="/", headers=None):
    """Asks a port by its host name, at the gateway's address."""
    return exchange(os.environ["E2B_SANDBOX_URL"], "GET", path, {"Host": sandbox.get_host(port), **(headers or {})})


def closed(sandbox_id, port):
    """What is answered where nobody listens: SDKs read that the sandbox runs."""
    return {"sandboxId": sandbox_id, "message": "The sandbox is running but port is not open", "port": port, "code": 502}
