"""What all kernels have in common: a process that is started, ended, interrupted and watched."""

import abc
import asyncio
import os
import shutil
import tempfile

from ..faults import KernelGone
from .process import Process

START_TIMEOUT_S = 120


class Kernel(abc.ABC):
    """A process that runs one cell at a time."""

    def __init__(self, programs, cwd):
        self._programs, self._cwd = programs, cwd
        self._process = None
        # Why it was ended, once it was.
        self._gone = asyncio.get_running_loop().create_future()
        self._folder = None

    @property
    def is_alive(self):
        """Whether cells can be run."""
        return self._process is not None and self._process.is_alive and not self._gone.done()

    async def start(self):
        """Starts the process and waits until it takes cells."""
        self._folder = tempfile.mkdtemp(prefix="kernel-", dir=self._programs.work_folder)
        try:
            await self._while_it_lives(asyncio.wait_for(self._start(), START_TIMEOUT_S))
        except TimeoutError:
            raise KernelGone("KernelDied", f"the kernel was not ready within {START_TIMEOUT_S} s") from None
        except FileNotFoundError as error:
            raise KernelGone("KernelDied", f"the kernel cannot be started: {error}") from error

    async def execute(self, cell, emit):
        """Runs the cell; what comes of it is given to `emit`, which may take its time. Raises `KernelGone`."""
        await self._while_it_lives(self._execute(cell, emit))

    @abc.abstractmethod
    def interrupt(self):
        """Has the cell that runs end early, where it heeds that."""

    async def end(self, name, message):
        """Ends the process and all its children; whoever waits for it gets an error of this name."""
        if not self._gone.done():
            self._gone.set_result((name, message))
        if self._process is not None:
            await self._process.kill()
        self._close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @abc.abstractmethod
    async def _start(self):
        """Starts the process and waits until it is ready."""

    @abc.abstractmethod
    async def _execute(self, cell, emit):
        """Runs the cell in the living process."""

    def _close(self):
        """Lets go of what belongs to the process."""

    async def _spawn(self, argv, **options):
        if not os.path.isdir(self._cwd):
            raise KernelGone("KernelDied", f"the context's folder {self._cwd!r} is gone: make it again, or use another context")
        self._process = await Process.spawn(argv, self._cwd, **options)

    async def _while_it_lives(self, work):
        work = asyncio.ensure_future(work)
        ended = asyncio.create_task(self._end_of_process())
        try:
            await asyncio.wait((work, ended, self._gone), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if self._gone.done():
                raise KernelGone(*self._gone.result())
            raise KernelGone("KernelDied", ended.result())
        finally:
            for task in (work, ended):
                task.cancel()
                await asyncio.wait((task,))

    async def _end_of_process(self):
        # It is made by the work that this watches.
        while self._process is None:
            await asyncio.sleep(0.01)
        how = await self._process.how_it_ended()
        await self._drain()
        return f"{how}; its state is lost, and the next execution has a new one"

    async def _drain(self):
        """Lets what the process wrote before it ended be told of."""
