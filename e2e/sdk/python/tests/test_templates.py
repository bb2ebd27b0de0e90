"""Templates: built, found, tagged, and made sandboxes of. Their images are those that the daemon has, or those of a registry of the tests' own."""

import io
import os
import subprocess
import tarfile

import pytest
from conftest import wait_until
from covers import covers
from e2b import (
    BuildException,
    SandboxException,
    TemplateBuildStatus,
    TemplateException,
    default_build_logger,
    wait_for_file,
    wait_for_port,
    wait_for_process,
    wait_for_timeout,
    wait_for_url,
)

IMAGE = "hearth/template-base"
SIZE = {"cpu_count": 1, "memory_mb": 512}


@pytest.fixture
def builder(sdk):
    """A builder of the flavour's own class; it only writes down what is wanted."""
    own = sdk.Template._target if sdk.is_asynchronous else sdk.Template
    return lambda *args, **options: own(*args, **options)


@pytest.fixture
def delete():
    """Forgets templates by their names, for which the SDKs have no method."""
    import urllib.request

    names = []
    yield names.append
    for name in names:
        request = urllib.request.Request(f"{os.environ['E2B_API_URL']}/templates/{name}", method="DELETE")
        request.add_header("X-API-KEY", os.environ["E2B_API_KEY"])
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 204


@covers(
    "Template.build", "Template.build(on_build_logs)", "Template.build(cpu_count)", "Template.build(memory_mb)",
    "Template.from_image", "TemplateBuilder.copy", "TemplateBuilder.copy_items", "TemplateBuilder.run_cmd",
    "TemplateBuilder.set_envs", "TemplateBuilder.set_workdir", "TemplateBuilder.set_user", "TemplateBuilder.make_dir",
    "TemplateBuilder.make_symlink", "TemplateBuilder.rename", "TemplateBuilder.remove", "TemplateBuilder.set_start_cmd",
    "wait_for_port", "default_build_logger",
)
def test_every_step_of_a_build(sdk, builder, create, delete, name, tmp_path, capsys):
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/deep/one").write_text("one")
    (tmp_path / "two.txt").write_text("two")
    (tmp_path / "ignored.txt").write_text("ignored")
    template = (
        builder(file_context_path=str(tmp_path), file_ignore_patterns=["ignored.txt"])
        .from_image(IMAGE)
        .set_user("root")
        .copy("folder", "/srv/folder")
        .copy_items([{"src": "*.txt", "dest": "/srv/files/", "mode": 0o640, "user": "user"}])
        .run_cmd("echo $PWD $(id -un) > /srv/first; useradd -m someone")
        .make_dir("/srv/made", mode=0o750)
        .make_symlink("/srv/files/two.txt", "/srv/link")
        .rename("/srv/folder/deep/one", "/srv/folder/renamed")
        .remove("/srv/folder/deep", recursive=True)
        .run_cmd(["chown user /srv", "mkdir -p /srv/work && chown user /srv/work"])
        .set_envs({"COLOUR": "blue green"})
        .set_workdir("/srv/work")
        .set_user("someone")
        .run_cmd("echo $COLOUR $PWD $(id -un) > /tmp/second")
        .set_start_cmd("python3 -m http.server 8765", wait_for_port(8765))
    )
    lines = []
    log = default_build_logger()

    def on_build_logs(line):
        lines.append(line)
        log(line)

    delete(name)
    info = sdk.Template.build(template, name, on_build_logs=on_build_logs, **SIZE)
    assert info.template_id and info.build_id and info.name == name
    assert len(lines) > 10 and capsys.readouterr().out
    sandbox = create(name)
    said = sandbox.commands.run(
        "id -un; pwd; cat /srv/first /tmp/second /srv/folder/renamed; echo; readlink /srv/link; stat -c '%a %U %n' /srv/made /srv/files/two.txt; ls /srv /srv/folder"
    ).stdout.split("\n")
    assert said[:2] == ["someone", "/srv/work"]
    assert said[2].endswith(" root") and said[3] == "blue green /srv/work someone"
    assert said[4:8] == ["one", "/srv/files/two.txt", "750 root /srv/made", "640 user /srv/files/two.txt"]
    assert "ignored.txt" not in said and "deep" not in said
    assert "http.server" in " ".join(" ".join(process.args) for process in sandbox.commands.list())
    assert "200 OK" in sandbox.commands.run("curl -sI http://127.0.0.1:8765/").stdout


@covers("Template.build_in_background", "Template.get_build_status", "Template.get_build_status(logs_offset)", "Template.build(alias)")
def test_build_in_background(sdk, builder, delete, name):
    delete(name)
    template = builder().from_image(IMAGE).skip_cache().run_cmd("for i in $(seq 120); do echo line $i; done")
    info = sdk.Template.build_in_background(template, alias=name, **SIZE)
    first = sdk.Template.get_build_status(info)
    assert first.status in TemplateBuildStatus and first.build_id == info.build_id and first.template_id == info.template_id
    done = lambda: (status := sdk.Template.get_build_status(info)).status in ("ready", "error") and status
    last = wait_until(done, "the build's end")
    assert last.status == TemplateBuildStatus.READY and last.reason is None
    offset, seen = 0, []
    while entries := sdk.Template.get_build_status(info, logs_offset=offset).log_entries:
        assert len(entries) <= 100
        offset += len(entries)
        seen += [entry.message.strip() for entry in entries]
    assert [line for line in seen if line.startswith("line ")] == [f"line {number}" for number in range(1, 121)]


def test_steps_are_taken_from_before(sdk, builder, create, delete, name):
    delete(name)
    once = f"echo {name} > /home/user/once && cat /proc/sys/kernel/random/uuid >> /home/user/once"

    def built(template):
        lines = []
        sdk.Template.build(template, name, on_build_logs=lines.append, **SIZE)
        return [line.message for line in lines if "CACHED" in line.message], create(name).files.read("/home/user/once")

    begun = builder().from_image(IMAGE).set_envs({"MARK": name}).run_cmd(once)
    cached, first = built(begun)
    assert cached == [] and first.startswith(name)
    cached, again = built(begun.run_cmd("echo more >> /home/user/once"))
    assert len(cached) == 2 and again == first + "more\n", "the step ran once"


@covers("Template.build")
def test_a_build_that_fails_says_at_which_step(sdk, builder, create, delete, name):
    delete(name)
    template = builder().from_image(IMAGE).run_cmd("true").run_cmd("echo it went wrong >&2; exit 3")
    lines = []
    with pytest.raises(BuildException, match="3"):
        sdk.Template.build(template, name, on_build_logs=lines.append, **SIZE)
    assert any("it went wrong" in line.message for line in lines)
    with pytest.raises(SandboxException):
        create(name)


def test_a_build_of_an_image_that_is_absent(sdk, builder, delete, name):
    delete(name)
    with pytest.raises(BuildException, match="no-such"):
        sdk.Template.build(builder().from_image("127.0.0.1:1/hearth/no-such"), name, **SIZE)


@covers("Template.skip_cache", "Template.build(skip_cache)", "TemplateBuilder.set_ready_cmd", "wait_for_file")
def test_what_is_ready_is_told_by_a_command(sdk, builder, create, delete, name):
    delete(name)
    template = builder().skip_cache().from_image(IMAGE).skip_cache().run_cmd("touch /tmp/made").set_ready_cmd(wait_for_file("/tmp/made"))
    sdk.Template.build(template, name, skip_cache=True, **SIZE)
    assert create(name).files.exists("/tmp/made")


@covers("Template.from_template")
def test_a_template_of_a_template(sdk, builder, create, delete, name):
    delete(name)
    sdk.Template.build(builder().from_template("base").run_cmd("echo more > /home/user/more"), name, **SIZE)
    assert create(name).files.read("/home/user/more") == "more\n"


@covers("Template.exists", "Template.alias_exists")
def test_exists(sdk):
    assert sdk.Template.exists("base") is True and sdk.Template.alias_exists("base") is True
    assert sdk.Template.exists("hearth-no-such") is False and sdk.Template.alias_exists("hearth-no-such") is False


@covers("Template.build(tags)", "Template.assign_tags", "Template.get_tags", "Template.remove_tags")
def test_tags(sdk, builder, create, delete, name):
    delete(name)
    build = lambda mark, **options: sdk.Template.build(builder().from_image(IMAGE).run_cmd(f"echo {mark} > /tmp/mark"), name, **options, **SIZE)
    one = build("one", tags=["v1"])
    two = build("two", tags=["v2", "stable"])
    tags = lambda: {tag.tag: tag.build_id for tag in sdk.Template.get_tags(name)}
    assert tags() == {"v1": one.build_id, "v2": two.build_id, "stable": two.build_id}
    assert create(f"{name}:v1").files.read("/tmp/mark") == "one\n"
    assigned = sdk.Template.assign_tags(f"{name}:v1", ["stable", "old"])
    assert (assigned.build_id, sorted(assigned.tags)) == (one.build_id, ["old", "stable"])
    assert sdk.Template.assign_tags(f"{name}:v2", "latest").tags == ["latest"]
    assert tags() == {"v1": one.build_id, "v2": two.build_id, "stable": one.build_id, "old": one.build_id, "latest": two.build_id}
    assert create(f"{name}:stable").files.read("/tmp/mark") == "one\n"
    sdk.Template.remove_tags(name, "old")
    sdk.Template.remove_tags(name, ["v1", "latest"])
    assert tags() == {"v2": two.build_id, "stable": one.build_id}
    with pytest.raises(SandboxException):
        create(f"{name}:v1")
    with pytest.raises(TemplateException):
        sdk.Template.assign_tags(f"{name}:absent", "v3")


@covers("Template.from_dockerfile")
@pytest.mark.sync_only
def test_from_dockerfile(sdk, builder, create, delete, name, tmp_path):
    (tmp_path / "file").write_text("copied")
    dockerfile = f"FROM {IMAGE}\nENV MARK=docker\nWORKDIR /srv\nCOPY file file\nRUN echo $MARK > /srv/mark\n"
    delete(name)
    sdk.Template.build(builder(file_context_path=str(tmp_path)).from_dockerfile(dockerfile), name, **SIZE)
    sandbox = create(name)
    assert (sandbox.files.read("/srv/file"), sandbox.files.read("/srv/mark")) == ("copied", "docker\n")


@covers("TemplateBuilder.git_clone")
@pytest.mark.sync_only
def test_git_clone(sdk, builder, create, delete, name):
    delete(name)
    template = (
        builder().from_image(IMAGE).set_user("root")
        .run_cmd("git init -q -b main /srv/origin && cd /srv/origin && echo cloned > file && git add file && git -c user.name=a -c user.email=a@b commit -qm one")
        .git_clone("file:///srv/origin", "/srv/clone", branch="main", depth=1)
    )
    sdk.Template.build(template, name, **SIZE)
    assert create(name).files.read("/srv/clone/file") == "cloned\n"


@covers("TemplateBuilder.pip_install", "TemplateBuilder.npm_install")
@pytest.mark.sync_only
def test_packages_from_a_folder(sdk, builder, create, delete, name, tmp_path):
    wheel_of(tmp_path / "hearthsdk-1.0-py3-none-any.whl")
    with tarfile.open(tmp_path / "one.tgz", "w:gz") as archive:
        entry = tarfile.TarInfo("package/package.json")
        content = b'{"name": "hearthsdk", "version": "1.0.0", "bin": {"hearthsdk": "run.js"}}'
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo("package/run.js")
        content = b"#!/usr/bin/env node\nconsole.log('from npm')\n"
        entry.size, entry.mode = len(content), 0o755
        archive.addfile(entry, io.BytesIO(content))
    delete(name)
    template = (
        builder(file_context_path=str(tmp_path)).from_image(IMAGE)
        .copy("*.whl", "/srv/").copy("one.tgz", "/srv/")
        .pip_install("--no-index /srv/hearthsdk-1.0-py3-none-any.whl")
        .npm_install("--offline /srv/one.tgz", g=True)
    )
    sdk.Template.build(template, name, **SIZE)
    sandbox = create(name)
    assert sandbox.commands.run("python3 -c 'import hearthsdk; print(hearthsdk.word)'").stdout == "from pip\n"
    assert sandbox.commands.run("hearthsdk").stdout == "from npm\n"


def wheel_of(path):
    """The least that is a wheel."""
    import zipfile

    about = "hearthsdk-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hearthsdk.py", "word = 'from pip'\n")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: hearthsdk\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: hearth\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"hearthsdk.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


@covers(
    "Template.to_json", "Template.to_dockerfile", "TemplateBuilder.apt_install", "TemplateBuilder.bun_install",
    "TemplateBuilder.skip_cache",
)
@pytest.mark.sync_only
def test_what_only_the_registries_could_install_is_sent_as_commands(builder):
    template = builder().from_image(IMAGE).apt_install(["curl"]).skip_cache().bun_install("left-pad")
    own = type(builder())
    assert "apt-get" in own.to_json(template) and "bun" in own.to_json(template)
    assert own.to_dockerfile(template).startswith(f"FROM {IMAGE}\n")


@covers(
    "Template.from_debian_image", "Template.from_ubuntu_image", "Template.from_fedora_image", "Template.from_alpine_image",
    "Template.from_arch_image", "Template.from_python_image", "Template.from_node_image", "Template.from_bun_image",
    "Template.from_base_image",
)
@pytest.mark.sync_only
def test_names_of_images(builder):
    own = type(builder())
    images = {
        "debian_image": "debian:stable", "ubuntu_image": "ubuntu:latest", "alpine_image": "alpine:", "fedora_image": "fedora:",
        "arch_image": "archlinux:", "python_image": "python:3", "node_image": "node:lts", "bun_image": "oven/bun:latest",
        "base_image": "e2bdev/base",
    }
    for method, image in images.items():
        made = own.to_json(getattr(builder(), f"from_{method}")())
        assert f'"fromImage": "{image}' in made, made


@covers("wait_for_url", "wait_for_process", "wait_for_timeout", "ReadyCmd.get_cmd")
@pytest.mark.sync_only
def test_ready_commands_are_the_shells(shared_sandbox):
    checks = [wait_for_url("http://127.0.0.1:8766/"), wait_for_process("python3"), wait_for_timeout(1000)]
    shared_sandbox.commands.run("cd /usr && python3 -m http.server 8766", background=True)
    for check in checks:
        holds = lambda: shared_sandbox.commands.run(f"({check.get_cmd()}) >/dev/null && echo yes || echo no").stdout == "yes\n"
        wait_until(holds, check.get_cmd())


REGISTRY, (REGISTRY_USER, REGISTRY_PASSWORD) = os.environ.get("HEARTH_REGISTRY", ""), os.environ.get("HEARTH_REGISTRY_LOGIN", ":").split(":")


def pushed(name):
    """The image of the tests' registry by another name, which the node lacks."""
    skopeo = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]
    login = ["--src-creds", f"{REGISTRY_USER}:{REGISTRY_PASSWORD}", "--dest-creds", f"{REGISTRY_USER}:{REGISTRY_PASSWORD}"]
    subprocess.run([*skopeo, *login, f"docker://{REGISTRY}/mine/debian:1", f"docker://{REGISTRY}/{name}"], check=True)
    return f"{REGISTRY}/{name}"


@covers("Template.from_image(username)")
@pytest.mark.sync_only
def test_an_image_of_a_private_registry(sdk, builder, create, delete, name):
    delete(name)
    image, lines = pushed("python/debian:1"), []
    with pytest.raises(BuildException, match="cannot pull"):
        sdk.Template.build(builder().from_image(image, username=REGISTRY_USER, password="wrong"), name, **SIZE)
    template = builder().from_image(image, username=REGISTRY_USER, password=REGISTRY_PASSWORD)
    sdk.Template.build(template.run_cmd("id -un > /tmp/who"), name, on_build_logs=lines.append, **SIZE)
    said = [line.message for line in lines]
    assert f"FROM {image}" in said and REGISTRY_PASSWORD not in str(said)
    assert create(name).files.read("/tmp/who") == "user\n"


@covers("Template.from_gcp_registry")
@pytest.mark.sync_only
def test_an_image_of_a_registry_of_googles(sdk, builder, delete, name):
    delete(name)
    # Such a registry takes the key as a password.
    sdk.Template.build(builder().from_gcp_registry(pushed("google/debian:1"), service_account_json={}), name, **SIZE)


@covers("Template.from_aws_registry", not_offered="400: keys of AWS are not taken, but the token that `aws ecr get-login-password` prints is")
@pytest.mark.sync_only
def test_keys_of_aws_are_refused(sdk, builder, name):
    template = builder().from_aws_registry("1.dkr.ecr.us-east-1.amazonaws.com/x", access_key_id="a", secret_access_key="b", region="us-east-1")
    with pytest.raises((BuildException, TemplateException), match="get-login-password"):
        sdk.Template.build(template, name, **SIZE)


@covers("TemplateBuilder.add_mcp_server", "TemplateBuilder.beta_dev_container_prebuild", "TemplateBuilder.beta_set_dev_container_start", not_offered="the SDK itself refuses where the template is not E2B's own of that name")
@pytest.mark.sync_only
def test_what_wants_templates_of_e2bs_own(builder):
    for ask in [
        lambda: builder().from_image(IMAGE).add_mcp_server("exa"),
        lambda: builder().from_image(IMAGE).beta_dev_container_prebuild("/srv"),
        lambda: builder().from_image(IMAGE).beta_set_dev_container_start("/srv"),
    ]:
        with pytest.raises(BuildException):
            ask()
