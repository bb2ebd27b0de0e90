"""Secrets, which Hearth does not offer by this API: what a caller is told."""

import pytest
from covers import covers
from e2b import SecretException

REFUSED = "refused: the server has nothing of the kind"


@covers("Secret.create", "Secret.list", "SecretPaginator.next_items", not_offered=REFUSED)
def test_secrets_are_refused(sdk):
    for ask in [lambda: sdk.Secret.create("HEARTH_SDK", "x"), lambda: sdk.Secret.list().next_items()]:
        with pytest.raises(SecretException, match="secret"):
            ask()


@covers("Secret.get_info", "Secret.update", "Secret.exists", "Secret.destroy", not_offered="as if there were none of that name")
def test_no_secret_is_found(sdk):
    for ask in [lambda: sdk.Secret.get_info("HEARTH_SDK"), lambda: sdk.Secret.update("HEARTH_SDK", "x")]:
        with pytest.raises(SecretException, match="HEARTH_SDK"):
            ask()
    assert sdk.Secret.exists("HEARTH_SDK") is False and sdk.Secret.destroy("HEARTH_SDK") is False


@covers("Secret.fill", not_offered="made by the SDK; what it stands for is filled in nowhere")
def test_placeholders_are_the_sdks(sdk):
    assert "HEARTH_SDK" in sdk.Secret.fill("HEARTH_SDK")
