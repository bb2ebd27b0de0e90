"""The HTTP contract of the SDKs. Errors are JSON: `{"code": status, "message": why}`."""

import asyncio
import json
import logging
import re

from aiohttp import web

from . import languages
from .execution import Execution
from .faults import Refused

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 16 << 20
KEEPALIVE_S = 5
ENV_MAX = 1000
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def application(contexts, sandbox_env):
    """The routes over these contexts."""
    api = Api(contexts, sandbox_env)
    app = web.Application(middlewares=[_errors_as_json], client_max_size=BODY_MAX_BYTES)
    app.add_routes(
        [
            web.get("/health", api.health),
            web.post("/execute", api.execute),
            web.get("/contexts", api.list_contexts),
            web.post("/contexts", api.create_context),
            web.delete("/contexts/{id}", api.remove_context),
            web.post("/contexts/{id}/restart", api.restart_context),
        ]
    )
    return app


class Api:
    """One method for each route."""

    def __init__(self, contexts, sandbox_env):
        self._contexts, self._sandbox_env = contexts, sandbox_env

    async def health(self, _request):
        """It answers only once all is ready: nobody listens before."""
        return web.json_response("OK")

    async def execute(self, request):
        """Runs code and streams its events. A client that goes ends it."""
        # The SDKs bear the token here alone: contexts are anybody's who reaches the port.
        token = request.headers.get("X-Access-Token")
        await self._sandbox_env.current(token)
        body = await _body(request)
        execution = Execution(_code(body), _variables(body), token)
        self._context(body).submit(execution)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        try:
            await response.prepare(request)
            async for line in execution.lines(KEEPALIVE_S):
                await response.write(line)
            await response.write_eof()
        finally:
            execution.abandon()
        return response

    async def list_contexts(self, _request):
        """All, a language's own included."""
        return web.json_response([context.describe() for context in self._contexts.list()])

    async def create_context(self, request):
        """Makes one and has its kernel started meanwhile."""
        body = await _body(request)
        context = self._contexts.create(body.get("language"), body.get("cwd"))
        context.prepare()
        return web.json_response(context.describe())

    async def remove_context(self, request):
        """Ends its processes."""
        await asyncio.shield(self._contexts.remove(request.match_info["id"]))
        return web.Response(status=204)

    async def restart_context(self, request):
        """Its state is gone when this answers."""
        await asyncio.shield(self._contexts.get(request.match_info["id"]).restart())
        return web.Response(status=204)

    def _context(self, body):
        context_id = body.get("context_id")
        if context_id is not None and body.get("language") is not None:
            raise Refused(400, "`context_id` and `language` exclude each other: a context has its language")
        if context_id is not None:
            return self._contexts.get(context_id)
        return self._contexts.default(languages.parse(body.get("language")))


async def _body(request):
    try:
        body = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(400, "the body must be a JSON object")
    return body


def _code(body):
    code = body.get("code")
    if not isinstance(code, str):
        raise Refused(400, "`code` must be a string" + (" and is missing" if code is None else ""))
    if "\0" in code:
        raise Refused(400, f"`code` has a NUL character at {code.index(chr(0))}")
    try:
        code.encode()
    except UnicodeEncodeError as error:
        raise Refused(400, f"`code` has half of a surrogate pair at {error.start}") from error
    return code


def _variables(body):
    given = body.get("env_vars")
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > ENV_MAX:
        raise Refused(400, f"`env_vars` must be an object of at most {ENV_MAX} strings")
    for name, value in given.items():
        if not ENV_NAME.match(name):
            raise Refused(400, f"`env_vars` has the name {name!r:.100}: use letters, digits and underscores")
        if not isinstance(value, str) or "\0" in value:
            raise Refused(400, f"`env_vars.{name}` must be a string without NUL characters")
    return given


@web.middleware
async def _errors_as_json(request, handler):
    try:
        return await handler(request)
    except Refused as refused:
        return _problem(refused.status, str(refused))
    except web.HTTPRequestEntityTooLarge:
        return _problem(413, f"the body has more than {BODY_MAX_BYTES} bytes: write the code to a file and run that")
    except web.HTTPException as error:
        return _problem(error.status, f"{request.method} {request.path}: {error.reason}")
    except ConnectionError:
        raise
    except Exception as error:
        log.exception("%s %s", request.method, request.path)
        return _problem(500, f"the code interpreter failed: {error}")


def _problem(status, message):
    return web.json_response({"code": status, "message": message}, status=status)
