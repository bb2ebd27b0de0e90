"""One context: a language, a folder, and a kernel that is started when it is wanted and again after it ended.

    no kernel ──first execution, or prepare──► kernel ──execute──► kernel
        ▲                                        │
        └──── it died · restart · unheeded interrupt

The lock is the line that executions wait in; only its holder starts a kernel or runs code in it.
"""

import asyncio
import logging
import uuid

from . import events
from .execution import Cell
from .faults import KernelGone, Refused

log = logging.getLogger(__name__)

# Executions of one context that may wait.
WAITING_MAX = 64
# For the code to end after an interrupt; then its kernel is ended.
INTERRUPT_GRACE_S = 10
# An interrupt that came while a library held signals back is repeated.
INTERRUPT_AGAIN_S = 2


class Context:
    """Owns its kernel."""

    def __init__(self, language, cwd, make_kernel, sandbox_env):
        self.id, self.language, self.cwd = str(uuid.uuid4()), language, cwd
        self._make_kernel, self._sandbox_env = make_kernel, sandbox_env
        self._lock, self._waiting = asyncio.Lock(), 0
        self._kernel, self._env_version, self._removed = None, None, False
        self._tasks = set()

    def describe(self):
        """As the SDKs read it."""
        return {"id": self.id, "language": self.language, "cwd": self.cwd}

    def submit(self, execution):
        """Has the execution run once those before it ended."""
        if self._waiting >= WAITING_MAX:
            raise Refused(429, f"context {self.id} has {WAITING_MAX} executions waiting: wait for them, or use another context")
        self._waiting += 1
        self._spawn(self._run(execution))

    def prepare(self):
        """Starts the kernel ahead of the first execution."""
        self._spawn(self._prepare())

    async def warm(self, code):
        """Starts the kernel and runs code that leaves nothing behind but loaded modules."""
        async with self._lock:
            kernel = await self._living_kernel()
            await kernel.execute(Cell(code, silent=True), _log_event)

    async def restart(self):
        """Ends the kernel with all it holds; the next one is on its way when this returns."""
        await self._end_kernel("ContextRestarted", f"the context was restarted while its code ran (context {self.id})")
        self.prepare()

    async def remove(self):
        """Ends the kernel for good."""
        self._removed = True
        await self._end_kernel("ContextRemoved", f"context {self.id} was removed while its code ran or waited")

    def _spawn(self, work):
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare(self):
        async with self._lock:
            if not self._removed:
                try:
                    await self._living_kernel()
                except KernelGone as gone:
                    log.warning("the %s kernel of context %s: %s", self.language, self.id, gone)

    async def _run(self, execution):
        try:
            async with self._lock:
                await self._run_in_turn(execution)
        finally:
            self._waiting -= 1

    async def _run_in_turn(self, execution):
        if execution.abandoned.is_set():
            return
        try:
            await self._execute(execution)
        except KernelGone as gone:
            await execution.emit(events.error(gone.name, str(gone)))
        except Exception as error:
            log.exception("an execution in context %s", self.id)
            await execution.emit(events.error(type(error).__name__, f"the code interpreter failed: {error}"))
        await execution.emit(events.END)

    async def _execute(self, execution):
        kernel = await self._living_kernel()
        version, variables = await self._sandbox_env.current(execution.access_token)
        new = variables if version != self._env_version else {}
        running = asyncio.create_task(kernel.execute(Cell(execution.code, execution.env, new), execution.emit))
        abandoned = asyncio.create_task(execution.abandoned.wait())
        try:
            await asyncio.wait((running, abandoned), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await self._interrupt(kernel, running)
            await running
            self._env_version = version
        finally:
            abandoned.cancel()

    async def _interrupt(self, kernel, running):
        """Nobody waits for the code any more. What does not end by an interrupt ends with its kernel."""
        for _ in range(INTERRUPT_GRACE_S // INTERRUPT_AGAIN_S):
            kernel.interrupt()
            await asyncio.wait((running,), timeout=INTERRUPT_AGAIN_S)
            if running.done():
                return
        log.warning("the code in context %s does not heed an interrupt: its kernel is ended", self.id)
        await self._end_kernel("ContextRestarted", "the code did not end when it was interrupted")

    async def _living_kernel(self):
        if self._removed:
            raise KernelGone("ContextRemoved", f"context {self.id} was removed")
        if self._kernel is None or not self._kernel.is_alive:
            if self._kernel is not None:
                await self._kernel.end("KernelDied", "the kernel had ended")
            self._env_version = None
            self._kernel = self._make_kernel(self.language, self.cwd)
            try:
                await self._kernel.start()
            except BaseException:
                await self._kernel.end("KernelDied", "the kernel did not start")
                raise
        return self._kernel

    async def _end_kernel(self, name, message):
        if self._kernel is not None:
            await self._kernel.end(name, message)


async def _log_event(event):
    if event["type"] in ("error", "stdout", "stderr"):
        log.warning("while warming up: %s", event.get("text") or f"{event['name']}: {event['value']}")
