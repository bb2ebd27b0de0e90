"""ipykernel's application with this package's parts in it."""

import asyncio
import contextlib
import os
import signal
import sys
import warnings

from ipykernel import kernelapp
from ipykernel.ipkernel import IPythonKernel

from . import environment, formats, publisher, renew

# What the server gives with an execution, in the request's metadata.
METADATA = "hearth"


class InterpreterKernel(IPythonKernel):
    """Runs cells with the variables that came with them."""

    def __init__(self, **options):
        super().__init__(**options)
        self._generation = renew.Generation(os.environ.get("HEARTH_GENERATION_FILE", "/run/hearth/generation"))
        # Of this process, whatever a cell has put in their places.
        self._streams = (sys.stdout, sys.stderr)
        formats.install(self.shell)

    async def do_execute(self, code, *args, cell_meta=None, cell_id=None, **kwargs):
        self._generation.renew()
        given = (cell_meta or {}).get(METADATA, {})
        environment.set_all(given.get("sandbox_env", {}))
        with environment.set_for_a_while(given.get("env", {})):
            reply = await super().do_execute(code, *args, cell_meta=cell_meta, cell_id=cell_id, **kwargs)
        for stream in self._streams:
            stream.settle()
        return reply

    @contextlib.contextmanager
    def _cancel_on_sigint(self, future):
        """Interrupts a cell that awaits. ipykernel's own tells another thread's loop, from which this one does not wake."""
        loop = asyncio.get_running_loop()

        def interrupt(*_):
            if asyncio.current_task(loop) is future:
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(future.cancel)

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class InterpreterApp(kernelapp.IPKernelApp):
    """Bounds the socket that everything is published by."""

    def init_iopub(self, context):
        # Once it is bound it is too late for those who connect.
        context.sndhwm = publisher.SOCKET_MESSAGES
        try:
            super().init_iopub(context)
        finally:
            del context.sndhwm


def main():
    """Serves the connection file that the command line names."""
    # IPython forgets the oldest results of many. That is nothing a cell did wrong, and no output of its.
    warnings.filterwarnings("ignore", message="Output cache limit")
    kernelapp.IOPubThread = publisher.BoundedPublisher
    InterpreterApp.launch_instance(
        kernel_class=InterpreterKernel,
        outstream_class="interpreter_kernel.output.BoundedStream",
    )
