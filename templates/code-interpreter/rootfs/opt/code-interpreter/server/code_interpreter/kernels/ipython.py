"""Python: an IPython kernel, spoken to by Jupyter's protocol over Unix sockets.

execute_request ──shell──► kernel ──iopub──► reader ──► emit
                                               │ `idle` of this request: the cell has ended
"""

import asyncio
import logging
import os
import signal

import zmq
import zmq.asyncio
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.connect import write_connection_file

from .. import events
from .kernel import Kernel

log = logging.getLogger(__name__)

# In the sockets, on this side: a piece of output has at most some 128 KiB, and what is shown up to 64 MiB.
SOCKET_MESSAGES = 2
READY_AGAIN_S = 1
DRAIN_STEP_S = 0.05


class IPythonKernel(Kernel):
    """One IPython kernel and the client of its sockets."""

    def __init__(self, programs, cwd):
        super().__init__(programs, cwd)
        self._client = self._context = self._reader = None
        self._request = self._emit = None
        self._messages, self._giving = 0, False
        self._idle = asyncio.Event()
        self._heard = asyncio.Event()

    def interrupt(self):
        self._process.signal_group(signal.SIGINT)

    async def _start(self):
        connection = os.path.join(self._folder, "connection.json")
        write_connection_file(connection, transport="ipc", ip=os.path.join(self._folder, "s"), key=os.urandom(16).hex().encode())
        script = os.path.join(self._programs.root, "python", "kernel.py")
        await self._spawn(
            [self._programs.python, script, "-f", connection, "--HistoryManager.enabled=False"],
            stdin=asyncio.subprocess.DEVNULL,
            # Has the kernel end when the server did, and say nothing as it starts.
            env={**os.environ, "JPY_PARENT_PID": str(os.getpid())},
        )
        self._context = zmq.asyncio.Context()
        self._context.rcvhwm = SOCKET_MESSAGES
        self._client = AsyncKernelClient(context=self._context, connection_file=connection)
        self._client.load_connection_file()
        self._client.start_channels(stdin=False, hb=False)
        self._reader = asyncio.create_task(self._read())
        await self._ready()

    async def _ready(self):
        """Until the kernel answers, and what it publishes is heard."""
        while True:
            self._client.kernel_info()
            try:
                await asyncio.wait_for(self._heard.wait(), READY_AGAIN_S)
                break
            except TimeoutError:
                continue

    async def _execute(self, cell, emit):
        content = {
            "code": cell.code,
            "silent": cell.silent,
            "store_history": not cell.silent,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        metadata = {"hearth": {"env": cell.env, "sandbox_env": cell.sandbox_env}}
        message = self._client.session.msg("execute_request", content, metadata=metadata)
        self._idle.clear()
        self._request, self._emit = message["header"]["msg_id"], emit
        try:
            self._client.shell_channel.send(message)
            await self._idle.wait()
        finally:
            self._request = self._emit = None

    async def _read(self):
        """All that is published, for as long as the kernel lives. What does not belong to the cell that runs is dropped."""
        while True:
            try:
                message = await self._client.get_iopub_msg()
                self._heard.set()
                self._messages += 1
                while await self._client.shell_channel.msg_ready():
                    # Its content is published as well.
                    await self._client.get_shell_msg()
                if self._emit is not None and message["parent_header"].get("msg_id") == self._request:
                    await self._take(message["msg_type"], message["content"])
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                # Cells can reach the socket as well. Who reads no more would have the kernel wait for ever.
                log.warning("a Python kernel published what is no message: %r", error)

    async def _take(self, kind, content):
        if kind == "status":
            if content["execution_state"] == "idle":
                self._idle.set()
        elif event := _event(kind, content):
            self._giving = True
            try:
                await self._emit(event)
            finally:
                self._giving = False

    async def _drain(self):
        # The sockets of a process that is gone hold what it sent before.
        seen = None
        while seen != self._messages or self._giving:
            seen = self._messages
            await asyncio.sleep(DRAIN_STEP_S)

    def _close(self):
        if self._reader is not None:
            self._reader.cancel()
        if self._client is not None:
            self._client.stop_channels()
        if self._context is not None:
            self._context.destroy(linger=0)


def _event(kind, content):
    """What a published message is to a client, if anything."""
    if kind == "stream":
        return events.output(content["name"], content["text"])
    if kind == "execute_input":
        return events.number(content["execution_count"])
    if kind in ("display_data", "execute_result"):
        return events.result(content["data"], kind == "execute_result")
    if kind == "error":
        return events.error(content["ename"], content["evalue"], "\n".join(content["traceback"]))
    return None
