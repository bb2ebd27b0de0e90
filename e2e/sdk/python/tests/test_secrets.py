"""Secrets: kept, listed, updated, destroyed; never shown. They are filled in nowhere, and rules that would are refused."""

import uuid

import pytest
from covers import covers
from e2b import SandboxException, SecretException, SecretNotFoundException


@pytest.fixture
def secret(sdk):
    """A name for a secret that is gone afterwards."""
    name = f"hearth-sdk-{uuid.uuid4().hex[:12]}"
    yield name
    sdk.Secret.destroy(name)


@covers("Secret.create", "Secret.get_info", "Secret.exists", "Secret.destroy")
def test_a_secret_from_beginning_to_end(sdk, secret):
    assert sdk.Secret.exists(secret) is False
    made = sdk.Secret.create(secret.upper(), "hush", metadata={"team": "a"})
    assert (made.name, made.version, made.metadata) == (secret, 1, {"team": "a"})
    assert sdk.Secret.get_info(made.secret_id) == sdk.Secret.get_info(secret) == made
    assert "hush" not in repr(made)
    with pytest.raises(SecretException, match="already"):
        sdk.Secret.create(secret, "other")
    assert sdk.Secret.exists(secret) is True
    assert (sdk.Secret.destroy(made.secret_id), sdk.Secret.destroy(secret)) == (True, False)
    with pytest.raises(SecretNotFoundException, match=secret):
        sdk.Secret.get_info(secret)


@covers("Secret.update")
def test_an_update_is_another_version(sdk, secret):
    with pytest.raises(SecretNotFoundException, match=secret):
        sdk.Secret.update(secret, "x")
    made = sdk.Secret.create(secret, "hush", metadata={"team": "a"})
    updated = sdk.Secret.update(secret, "anew")
    assert (updated.version, updated.metadata) == (2, {"team": "a"})
    assert updated.created_at == made.created_at and updated.updated_at >= made.updated_at
    assert sdk.Secret.update(secret, "again", metadata={}).metadata == {}


@covers("Secret.list", "SecretPaginator.next_items")
def test_secrets_by_pages(sdk, secret):
    names = {f"{secret}-{n}" for n in range(3)}
    for name in names:
        sdk.Secret.create(name, "x")
    try:
        pages, seen = sdk.Secret.list(limit=2), []
        while pages.has_next:
            page = pages.next_items()
            assert len(page) <= 2
            seen += [one.name for one in page]
        assert names <= set(seen) and len(seen) == len(set(seen))
    finally:
        for name in names:
            sdk.Secret.destroy(name)


@covers("Secret.fill", not_offered="made by the SDK; rules that would have it filled in are refused")
def test_what_would_fill_secrets_in_is_refused(sdk, create):
    header = {"Authorization": f"Bearer {sdk.Secret.fill('api-key')}"}
    assert "${e2b.secrets.api-key}" in header["Authorization"]
    rules = {"example.com": [{"transform": {"headers": header}}]}
    with pytest.raises(SandboxException, match="network.rules is not offered"):
        create(network={"rules": rules})
