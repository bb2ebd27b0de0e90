"""Serves the code interpreter. Usage: python3 -I server [options]

The port is opened once the Python kernel of the sandbox's own context is warm, so whoever is answered at all finds it ready.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import shutil
import signal
import tempfile

from aiohttp import web
from code_interpreter import http_api, languages
from code_interpreter.contexts import Contexts
from code_interpreter.kernels import Programs
from code_interpreter.sandbox_env import SandboxEnv

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Loads what cells often begin with; leaves no name behind.
WARM = "__import__('interpreter_kernel.warm').warm.up()"


def arguments():
    """What the command line says."""
    parser = argparse.ArgumentParser(description="the code interpreter of a sandbox")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=49999, help="0: any, which is printed")
    parser.add_argument("--home", default=os.path.expanduser("~"), help="where contexts run that name no folder")
    parser.add_argument("--python", default="python3", help="of the Python kernels")
    parser.add_argument("--node", default="node", help="of the JavaScript and TypeScript kernels")
    parser.add_argument("--bash", default="bash", help="of the Bash kernels")
    parser.add_argument("--agent", default="http://127.0.0.1:49983", help="of the sandbox; empty: there is none")
    parser.add_argument("--generation", default="/run/hearth/generation", help="file that tells of a restore")
    parser.add_argument("--cold", action="store_true", help="open the port at once, and start kernels when they are wanted")
    return parser.parse_args()


async def serve(options, work_folder):
    """Until it is told to end."""
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    programs = Programs(ROOT, options.python, options.node, options.bash, work_folder)
    sandbox_env = SandboxEnv(options.agent, options.generation)
    contexts = Contexts(options.home, programs.kernel, sandbox_env)
    try:
        if not options.cold:
            await contexts.default(languages.PYTHON).warm(WARM)
        # A client that goes ends its execution; aiohttp tells by cancelling the handler.
        runner = web.AppRunner(http_api.application(contexts, sandbox_env), handler_cancellation=True, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, options.host, options.port, shutdown_timeout=1)
        await site.start()
        print(f"listening on {options.host}:{runner.addresses[0][1]}", flush=True)
        await ending.wait()
    finally:
        await contexts.close()
    await runner.cleanup()


def main():
    """Serves, and leaves nothing behind."""
    options = arguments()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    os.environ["HEARTH_GENERATION_FILE"] = options.generation
    work_folder = tempfile.mkdtemp(prefix="code-interpreter-")
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(options, work_folder))
    finally:
        shutil.rmtree(work_folder, ignore_errors=True)


if __name__ == "__main__":
    main()
