"""Signed addresses of files, fetched by a client that is not the SDK."""

import urllib.error
import urllib.request

import pytest
from conftest import AGENT_PORT, wait_until
from covers import covers


@pytest.fixture
def fetch(sandbox):
    """Fetches an address: status and body."""
    return lambda *args: fetch_of(sandbox, *args)


def fetch_of(sandbox, url, body=None, content_type=None):
    request = urllib.request.Request(url, data=body, method="POST" if body is not None else "GET")
    if content_type:
        request.add_header("Content-Type", content_type)
    # An address on loopback does not tell which sandbox is meant; these do.
    request.add_header("E2b-Sandbox-Id", sandbox.sandbox_id)
    request.add_header("E2b-Sandbox-Port", str(AGENT_PORT))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


MULTIPART = "multipart/form-data; boundary=edge"


def form(content):
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="ignored"\r\n\r\n'
    return head + content + b"\r\n--edge--\r\n"


@covers("Sandbox.download_url")
def test_download(sandbox, folder, fetch):
    sandbox.files.write(f"{folder}/a b", "content")
    assert fetch(sandbox.download_url(f"{folder}/a b")) == (200, b"content")
    assert fetch(sandbox.download_url(f"{folder}/a b", user="root", use_signature_expiration=60)) == (200, b"content")


@covers("Sandbox.upload_url")
def test_upload(sandbox, folder, fetch):
    url = sandbox.upload_url(f"{folder}/file", use_signature_expiration=60)
    status, _ = fetch(url, form(b"content"), MULTIPART)
    assert status == 200 and sandbox.files.read(f"{folder}/file") == "content"
    status, _ = fetch(sandbox.upload_url(f"{folder}/other", user="root"), b"octets", "application/octet-stream")
    assert status == 200 and sandbox.files.read(f"{folder}/other") == "octets"


@covers("Sandbox.download_url")
def test_an_address_expires(sandbox, folder, fetch):
    sandbox.files.write(f"{folder}/file", "content")
    url = sandbox.download_url(f"{folder}/file", use_signature_expiration=1)
    assert fetch(url)[0] == 200
    status, body = wait_until(lambda: (answer := fetch(url))[0] != 200 and answer, "the address's end")
    assert status == 401 and b"signature is already expired" in body and b'"code":401' in body.replace(b" ", b"")


def test_a_signature_is_for_one_path_user_and_operation(sandbox, folder, fetch):
    sandbox.files.write(f"{folder}/file", "content")
    sandbox.files.write(f"{folder}/other", "content")
    url = sandbox.download_url(f"{folder}/file", user="root", use_signature_expiration=60)
    assert fetch(url)[0] == 200
    assert fetch(url.replace("file&", "other&"))[0] == 401
    assert fetch(url.replace("username=root", "username=nobody"))[0] == 401
    assert fetch(url, b"x", "application/octet-stream")[0] == 401
    assert fetch(url.split("&signature_expiration")[0])[0] == 401
    assert fetch(url.split("&signature=")[0])[0] == 401
    assert sandbox.files.read(f"{folder}/file") == "content"
