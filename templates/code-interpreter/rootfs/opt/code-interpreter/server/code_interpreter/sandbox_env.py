"""The sandbox's environment variables, as its agent has them.

The server is older than the sandbox: it was running when the template's snapshot was made. So it asks the agent, with the token
that the client's request bears, and again after the machine went on from a snapshot.
"""

import asyncio
import json
import logging

import aiohttp

log = logging.getLogger(__name__)

ASK_TIMEOUT_S = 2
ANSWER_MAX_BYTES = 4 << 20


class SandboxEnv:
    """The variables as of the last time they were asked for."""

    def __init__(self, agent_url, generation_file):
        self._agent_url, self._generation_file = agent_url, generation_file
        self._version, self._variables = 0, {}
        # The generation and the token with which the agent answered.
        self._asked = None

    async def current(self, access_token):
        """A number that changes as they do, and the variables."""
        if not self._agent_url:
            return self._version, self._variables
        asked = (self._generation(), access_token)
        if asked != self._asked:
            variables = await self._ask(access_token)
            if variables is not None:
                self._asked = asked
                if variables != self._variables:
                    self._version, self._variables = self._version + 1, variables
        return self._version, self._variables

    def _generation(self):
        try:
            with open(self._generation_file, "rb") as file:
                return file.read(64)
        except OSError:
            return b""

    async def _ask(self, access_token):
        """What the agent says, or nothing: code is run without its variables rather than not at all."""
        headers = {"X-Access-Token": access_token} if access_token else {}
        timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
                async with session.get(f"{self._agent_url}/envs", headers=headers) as answer:
                    if answer.status != 200:
                        log.info("the agent answers %s to the request for the sandbox's variables", answer.status)
                        return None
                    if (answer.content_length or 0) > ANSWER_MAX_BYTES:
                        raise ValueError(f"the answer has {answer.content_length} bytes")
                    variables = json.loads(await answer.read())
        except (TimeoutError, OSError, ValueError, aiohttp.ClientError) as error:
            log.info("the agent does not tell the sandbox's variables: %s", error)
            return None
        return {name: value for name, value in variables.items() if isinstance(value, str)}
