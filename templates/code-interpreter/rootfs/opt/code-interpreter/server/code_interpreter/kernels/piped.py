"""Kernels whose stdout and stderr are pipes."""

import asyncio

from ..faults import KernelGone
from .kernel import Kernel
from .pipes import Pump

CLOSED_GRACE_S = 1


class PipedKernel(Kernel):
    """What the process and its children write is told of as it comes, by whichever cell runs then."""

    def __init__(self, programs, cwd):
        super().__init__(programs, cwd)
        self._pumps = [Pump("stdout"), Pump("stderr")]
        self._count = 0

    async def _spawn_piped(self, argv, **options):
        try:
            await self._spawn(argv, stdout=self._pumps[0].write_fd, stderr=self._pumps[1].write_fd, **options)
        finally:
            for pump in self._pumps:
                pump.start()

    async def _closed(self):
        """What to raise where the process closed its connection. Mostly it is about to end, which says why; else it is ended."""
        await asyncio.sleep(CLOSED_GRACE_S)
        await self._process.kill()
        return KernelGone(
            "KernelDied", "the kernel closed its connection; its state is lost, and the next execution has a new one"
        )

    def _give_output_to(self, emit):
        for pump in self._pumps:
            pump.emit = emit

    async def _drain(self):
        for pump in self._pumps:
            await pump.drain()

    def _next_count(self):
        self._count += 1
        return self._count

    def _close(self):
        for pump in self._pumps:
            pump.close()
