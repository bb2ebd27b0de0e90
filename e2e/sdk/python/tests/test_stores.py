<<<<<<< HEAD
"""Secrets, which Hearth does not offer by this API: what a caller is told."""

import pytest
from covers import covers
from e2b import SecretException
=======
"""Volumes, which Hearth does not offer by this API: what a caller is told."""

import os

import pytest
from covers import covers
from e2b import AuthenticationException, SandboxException, VolumeException
>>>>>>> a1ff85c (Offer E2B's calls for secrets and teams)

REFUSED = "refused: the server has nothing of the kind"


<<<<<<< HEAD
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
=======
@covers("Volume.create", "Volume.list", not_offered=REFUSED)
def test_volumes_are_refused(sdk, name):
    for ask in [lambda: sdk.Volume.create(name), sdk.Volume.list]:
        with pytest.raises(VolumeException, match="volume"):
            ask()


@covers("Volume.connect", "Volume.get_info", "Volume.destroy", not_offered="as if there were none of that ID")
def test_no_volume_is_found(sdk):
    for ask in [sdk.Volume.connect, sdk.Volume.get_info]:
        with pytest.raises(Exception, match="hearth-no-such"):
            ask("hearth-no-such")
    assert sdk.Volume.destroy("hearth-no-such") is False


@covers("Sandbox.create(volume_mounts)", not_offered="400, refused by its name")
def test_mounts_are_refused(create):
    with pytest.raises(SandboxException, match="volumeMounts is not offered"):
        create(volume_mounts={"/data": "some"})


@covers(
    "Volume.make_dir", "Volume.write_file", "Volume.read_file", "Volume.exists", "Volume.update_metadata", "Volume.remove",
    not_offered="401: there is no volume whose token could be known",
)
def test_no_volume_has_content(sdk):
    volume = sdk.Volume("hearth-no-such", "hearth-no-such", token="x")
    here = {"api_url": os.environ["E2B_API_URL"]}
    for ask in [
        lambda: volume.list("/", **here),
        lambda: volume.make_dir("/a", **here),
        lambda: volume.write_file("/a", "x", **here),
        lambda: volume.read_file("/a", **here),
        lambda: volume.update_metadata("/a", mode=0o600, **here),
        lambda: volume.remove("/a", **here),
        lambda: volume.exists("/a", **here),
    ]:
        with pytest.raises((AuthenticationException, VolumeException)):
            ask()
>>>>>>> a1ff85c (Offer E2B's calls for secrets and teams)
