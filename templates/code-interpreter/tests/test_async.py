"""The asynchronous half of the Python SDK."""

import asyncio

import pytest
from e2b import NotFoundException, TimeoutException


def test_cells_contexts_and_callbacks(async_sandbox):
    async def use():
        out = []

        async def on_stdout(message):
            out.append(message.line)

        execution = await async_sandbox.run_code("print('hello')\n{'a': 1}", on_stdout=on_stdout)
        assert execution.text == "{'a': 1}" and out == ["hello\n"]
        context = await async_sandbox.create_code_context(language="ts")
        assert (await async_sandbox.run_code("const x: number = 4; x", context=context)).text == "4"
        assert context.id in [listed.id for listed in await async_sandbox.list_code_contexts()]
        await async_sandbox.restart_code_context(context)
        assert (await async_sandbox.run_code("typeof x", context=context)).text == "undefined"
        await async_sandbox.remove_code_context(context)
        with pytest.raises(NotFoundException):
            await async_sandbox.run_code("1", context=context)
        failed = await async_sandbox.run_code("raise ValueError('no')")
        assert (failed.error.name, failed.error.value) == ("ValueError", "no")

    asyncio.run(use())


def test_many_contexts_at_once(async_sandbox):
    async def use():
        codes = {"python": "6 * 7", "js": "6 * 7", "bash": "echo 42"}

        async def ask(language):
            context = await async_sandbox.create_code_context(language=language)
            execution = await async_sandbox.run_code(codes[language], context=context)
            await async_sandbox.remove_code_context(context)
            return (execution.text or execution.logs.stdout[0]).strip()

        assert set(await asyncio.gather(*(ask(language) for language in list(codes) * 2))) == {"42"}

    asyncio.run(use())


def test_cells_sent_at_once_run_one_after_another(async_sandbox):
    async def use():
        context = await async_sandbox.create_code_context()
        await async_sandbox.run_code("running = most = 0", context=context)
        code = "import time\nrunning += 1\nmost = max(most, running)\ntime.sleep(0.05)\nrunning -= 1"
        await asyncio.gather(*(async_sandbox.run_code(code, context=context) for _ in range(10)))
        assert (await async_sandbox.run_code("most", context=context)).text == "1"
        await async_sandbox.remove_code_context(context)

    asyncio.run(use())


def test_a_task_that_is_cancelled_interrupts(async_sandbox):
    async def use():
        context = await async_sandbox.create_code_context()
        began = asyncio.Event()
        code = "print('on', flush=True)\nkept = 1\nwhile True: pass"
        task = asyncio.create_task(async_sandbox.run_code(code, context=context, on_stdout=lambda _: began.set()))
        await asyncio.wait_for(began.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await async_sandbox.run_code("kept", context=context, timeout=30)).text == "1"
        with pytest.raises(TimeoutException):
            await async_sandbox.run_code("while True: pass", context=context, timeout=1)
        assert (await async_sandbox.run_code("kept", context=context, timeout=30)).text == "1"
        await async_sandbox.remove_code_context(context)

    asyncio.run(use())
