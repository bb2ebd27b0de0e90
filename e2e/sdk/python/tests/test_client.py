"""`E2B`, which binds an address and a key to the SDK's classes, and what a key that is none is told."""

import os

import pytest
from conftest import Facade
from covers import covers
from e2b import E2B, AuthenticationException, get_signature


@pytest.fixture
def connection():
    return {"api_key": os.environ["E2B_API_KEY"], "api_url": os.environ["E2B_API_URL"], "sandbox_url": os.environ["E2B_SANDBOX_URL"]}


@covers("E2B.Sandbox", "E2B.Template", "E2B.Volume", "E2B.Secret")
def test_classes_that_are_bound(sdk, portal, connection, monkeypatch):
    for name in connection:
        monkeypatch.delenv(f"E2B_{name.upper()}")
    client = E2B(**connection)
    bound = lambda name: Facade(getattr(client, f"Async{name}"), portal) if sdk.is_asynchronous else getattr(client, name)
    sandbox = bound("Sandbox").create(timeout=120)
    try:
        assert sandbox.commands.run("echo here").stdout == "here\n"
    finally:
        assert sandbox.kill() is True
    assert bound("Template").exists("base") is True
    assert bound("Secret").exists("HEARTH_NO_SUCH") is False
    assert bound("Volume").destroy("hearth-no-such") is False


@pytest.mark.parametrize("key", ["e2b_0123456789", "hth_0123456789"])
def test_a_key_that_is_none(sdk, key):
    for ask in [sdk.Sandbox.create, lambda **options: sdk.Sandbox.list(**options).next_items()]:
        with pytest.raises(AuthenticationException):
            ask(api_key=key)


@covers("get_signature")
def test_get_signature():
    signed = get_signature("/etc/hostname", "read", "user", "token", 60)
    assert signed["signature"].startswith("v1_") and signed["expiration"]
