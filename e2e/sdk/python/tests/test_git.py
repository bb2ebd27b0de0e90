"""`sandbox.git`: commands that the SDK runs. The sandbox's image must have git."""

import pytest
from covers import covers
from e2b import GitUpstreamException

AUTHOR = {"author_name": "Some One", "author_email": "one@example.com"}


@pytest.fixture
def repository(sandbox, folder):
    path = f"{folder}/repository"
    sandbox.git.init(path, initial_branch="main")
    sandbox.git.configure_user("Some One", "one@example.com", scope="local", path=path)
    sandbox.files.write(f"{path}/file", "one\n")
    sandbox.git.add(path)
    sandbox.git.commit(path, "First", **AUTHOR)
    return path


@covers("Git.init", "Git.add", "Git.commit", "Git.status", "Git.configure_user")
def test_init_add_commit_and_status(sandbox, repository):
    status = sandbox.git.status(repository)
    assert status.is_clean and status.current_branch == "main"
    sandbox.files.write(f"{repository}/file", "two\n")
    sandbox.files.write(f"{repository}/new", "")
    status = sandbox.git.status(repository)
    assert not status.is_clean and {entry.name for entry in status.file_status} == {"file", "new"}
    sandbox.git.add(repository, files=["new"])
    assert sandbox.git.status(repository).has_staged


@covers("Git.branches", "Git.create_branch", "Git.checkout_branch", "Git.delete_branch")
def test_branches(sandbox, repository):
    sandbox.git.create_branch(repository, "other")
    assert sandbox.git.branches(repository).current_branch == "other"
    sandbox.git.checkout_branch(repository, "main")
    found = sandbox.git.branches(repository)
    assert found.current_branch == "main" and set(found.branches) == {"main", "other"}
    sandbox.git.delete_branch(repository, "other")
    assert sandbox.git.branches(repository).branches == ["main"]


@covers("Git.reset", "Git.restore")
def test_reset_and_restore(sandbox, repository):
    sandbox.files.write(f"{repository}/file", "two\n")
    sandbox.git.restore(repository, paths=["file"])
    assert sandbox.files.read(f"{repository}/file") == "one\n"
    sandbox.files.write(f"{repository}/file", "two\n")
    sandbox.git.reset(repository, mode="hard")
    assert sandbox.files.read(f"{repository}/file") == "one\n"


@covers("Git.remote_add", "Git.remote_get", "Git.push", "Git.clone", "Git.pull")
def test_remotes_push_clone_and_pull(sandbox, folder, repository):
    sandbox.git.init(f"{folder}/bare.git", bare=True, initial_branch="main")
    sandbox.git.remote_add(repository, "origin", f"{folder}/bare.git")
    assert sandbox.git.remote_get(repository, "origin") == f"{folder}/bare.git"
    sandbox.git.push(repository, remote="origin", branch="main", set_upstream=True)
    sandbox.git.clone(f"{folder}/bare.git", path=f"{folder}/clone")
    sandbox.files.write(f"{repository}/file", "two\n")
    sandbox.git.add(repository)
    sandbox.git.commit(repository, "Second", **AUTHOR)
    sandbox.git.push(repository)
    sandbox.git.pull(f"{folder}/clone")
    assert sandbox.files.read(f"{folder}/clone/file") == "two\n"


def test_a_pull_without_an_upstream(sandbox, repository):
    with pytest.raises(GitUpstreamException):
        sandbox.git.pull(repository)


@covers("Git.set_config", "Git.get_config")
def test_configuration(sandbox, repository):
    sandbox.git.set_config("hearth.test", "value", scope="local", path=repository)
    assert sandbox.git.get_config("hearth.test", scope="local", path=repository) == "value"
    assert sandbox.git.get_config("hearth.absent", scope="local", path=repository) is None


@covers("Git.dangerously_authenticate")
def test_credentials_are_kept_in_the_sandbox(sandbox):
    try:
        sandbox.git.dangerously_authenticate("me", "x", host="git.example.com")
        assert "https://me:x@git.example.com" in sandbox.commands.run("cat ~/.git-credentials").stdout
    finally:
        sandbox.commands.run("rm -f ~/.git-credentials ~/.gitconfig")
