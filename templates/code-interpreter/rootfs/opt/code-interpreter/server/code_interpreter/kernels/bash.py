"""Bash: an interactive shell without a terminal, so that variables, functions and the working folder stay, and an interrupt
ends the command and not the shell. For each cell it is told, by its standard input, to evaluate files of the kernel's folder."""

import asyncio
import os
import shlex
import signal

from .. import events
from .piped import PipedKernel

INTERRUPTED = 128 + signal.SIGINT
STATUS_MAX_BYTES = 16


class BashKernel(PipedKernel):
    """One shell. It says the exit status of each cell by a pipe of its own."""

    def __init__(self, programs, cwd):
        super().__init__(programs, cwd)
        self._statuses = self._lines = None

    def interrupt(self):
        self._process.signal_group(signal.SIGINT)

    async def _start(self):
        read_fd, write_fd = os.pipe()
        try:
            self._write("before", "")
            self._write("after", "")
            rcfile = os.path.join(self._programs.root, "bash", "kernel.rc")
            await self._spawn_piped(
                # Else it would read its input by readline, which shows it.
                [self._programs.bash, "--noprofile", "--noediting", "--rcfile", rcfile, "-i"],
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(write_fd,),
            )
            self._lines = _lines(shlex.quote(self._folder), write_fd)
        finally:
            os.close(write_fd)
        self._statuses = await _reader(read_fd)
        # The first lines have the shell say that it is there.
        await self._run_cell("")

    async def _execute(self, cell, emit):
        await emit(events.number(self._next_count()))
        self._give_output_to(emit)
        try:
            self._write("before", _before(cell))
            self._write("after", _after(cell))
            status = await self._run_cell(cell.code)
            await self._drain()
        finally:
            self._give_output_to(None)
        if status == INTERRUPTED:
            await emit(events.error("Interrupted", "the code was interrupted"))
        elif status != 0:
            await emit(events.error("ExitStatus", str(status), f"the code ended with exit status {status}"))

    async def _run_cell(self, code):
        self._write("cell", code)
        self._process.child.stdin.write(self._lines)
        line = await self._statuses.readline()
        if not line.endswith(b"\n"):
            raise await self._closed()
        return int(line)

    def _write(self, name, text):
        with open(os.path.join(self._folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def _lines(folder, fd):
    """What has the shell run a cell. No functions and aliases: what a cell declares or returns from is the shell's own. Two
    lines, as an interrupt or a syntax error has it leave the rest of a line undone. What a cell starts does not get the pipe.
    """
    run = f'. {folder}/before; eval "$(<{folder}/cell)" </dev/null {fd}>&-'
    tell = f"__hearth_status=$?; . {folder}/after; printf '%s\\n' \"$__hearth_status\" >&{fd}"
    return f"{run}\n{tell}\n".encode()


def _before(cell):
    lines = [f"export {name}={shlex.quote(value)}" for name, value in cell.sandbox_env.items()]
    for name, value in cell.env.items():
        lines.append(f"__hearth_was_{name}=${{{name}+x${name}}}")
        lines.append(f"export {name}={shlex.quote(value)}")
    return "\n".join(lines)


def _after(cell):
    lines = []
    for name in cell.env:
        was = f"__hearth_was_{name}"
        lines.append(f'if [ -n "${was}" ]; then {name}="${{{was}#x}}"; else unset {name}; fi; unset {was}')
    return "\n".join(lines)


async def _reader(fd):
    reader = asyncio.StreamReader(limit=STATUS_MAX_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb"))
    return reader
