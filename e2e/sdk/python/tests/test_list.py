"""Listing sandboxes, by filters and pages."""

import datetime

import pytest
from covers import covers
from e2b import SandboxQuery, SandboxState


def all_of(paginator):
    found = []
    while paginator.has_next:
        found += [info.sandbox_id for info in paginator.next_items()]
    return found


@pytest.fixture(scope="module")
def three(sdk):
    """Three sandboxes of which the second is paused, the oldest first, and the mark that all of them bear."""
    mark = "three-async" if sdk.is_asynchronous else "three-sync"
    made = [sdk.Sandbox.create(timeout=600, metadata={"mark": mark, "number": f"no. {number} & more"}) for number in range(3)]
    made[1].pause()
    yield mark, [sandbox.sandbox_id for sandbox in made]
    for sandbox in made:
        sandbox.kill()


@covers("Sandbox.list", "SandboxPaginator.next_items")
def test_list_by_metadata(sdk, three):
    mark, ids = three
    paginator = sdk.Sandbox.list(SandboxQuery(metadata={"mark": mark}))
    assert all_of(paginator) == ids[::-1]
    assert not paginator.has_next
    with pytest.raises(Exception, match="No more items"):
        paginator.next_items()
    assert all_of(sdk.Sandbox.list(SandboxQuery(metadata={"mark": mark, "number": "no. 2 & more"}))) == [ids[2]]
    assert all_of(sdk.Sandbox.list(SandboxQuery(metadata={"mark": "hearth-no-such"}))) == []


def test_list_tells_all_of_each(sdk, three):
    mark, ids = three
    infos = sdk.Sandbox.list(SandboxQuery(metadata={"mark": mark})).next_items()
    assert [info.state for info in infos] == [SandboxState.RUNNING, SandboxState.PAUSED, SandboxState.RUNNING]
    for info in infos:
        assert (info.name, info.cpu_count, info.memory_mb) == ("base", 1, 512)
        assert info.started_at < info.end_at and info.envd_version


@covers("Sandbox.list(query)")
def test_list_by_state_template_and_time(sdk, three):
    mark, ids = three
    pinned = {"mark": mark}
    of = lambda **query: all_of(sdk.Sandbox.list(SandboxQuery(metadata=pinned, **query)))
    assert of(state=[SandboxState.PAUSED]) == [ids[1]]
    assert of(state=[SandboxState.RUNNING]) == [ids[2], ids[0]]
    assert of(state=[SandboxState.RUNNING, SandboxState.PAUSED]) == ids[::-1]
    assert of(template="base") == ids[::-1]
    assert of(template="hearth-no-such") == []
    second = sdk.Sandbox.get_info(ids[1])
    assert of(template=second.template_id) == ids[::-1]
    assert of(started_after=second.started_at) == [ids[2], ids[1]]
    assert of(started_after=datetime.datetime.now(datetime.timezone.utc)) == []


@covers("Sandbox.list(limit)", "Sandbox.list(next_token)", "SandboxPaginator.next_items")
def test_list_by_pages(sdk, three):
    mark, ids = three
    query = SandboxQuery(metadata={"mark": mark})
    paginator = sdk.Sandbox.list(query, limit=2)
    assert [info.sandbox_id for info in paginator.next_items()] == [ids[2], ids[1]]
    assert paginator.has_next and paginator.next_token
    later = sdk.Sandbox.list(query, limit=2, next_token=paginator.next_token)
    assert all_of(later) == all_of(paginator) == [ids[0]]


@covers("Sandbox.list(order)")
def test_list_in_order(sdk, three):
    mark, ids = three
    query = SandboxQuery(metadata={"mark": mark})
    assert all_of(sdk.Sandbox.list(query, order="asc", limit=1)) == ids
    assert all_of(sdk.Sandbox.list(query, order="desc", limit=1)) == ids[::-1]
