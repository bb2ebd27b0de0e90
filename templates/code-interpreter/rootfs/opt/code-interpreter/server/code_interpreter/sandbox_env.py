"""The sandbox's environment variables, as its agent has them.

The server is older than the sandbox: it was running when the template's snapshot was made. So it asks the agent, with the token
that the client's request bears, and again after the machine went on from a snapshot.

The agent answers nobody without the sandbox's token, so to ask it is also how the server knows who may run code: it holds no token
of its own. Where nobody listens in the agent's place there is no token to keep.
"""

import hmac
import json
import logging

import aiohttp

from .faults import Refused

log = logging.getLogger(__name__)

ASK_TIMEOUT_S = 10
ANSWER_MAX_BYTES = 4 << 20


class SandboxEnv:
    """The variables as of the last time they were asked for."""

    def __init__(self, agent_url, generation_file):
        self._agent_url, self._generation_file = agent_url, generation_file
        self._version, self._variables = 0, {}
        # The generation and the token with which the agent answered.
        self._asked = None

    async def current(self, access_token):
        """A number that changes as they do, and the variables. Raises `Refused` where the token opens nothing."""
        generation, token = self._generation(), (access_token or "").encode()
        if self._agent_url and not self._was_answered(generation, token):
            variables = await self._ask(access_token)
            if variables is not None:
                self._asked = (generation, token)
                if variables != self._variables:
                    self._version, self._variables = self._version + 1, variables
        return self._version, self._variables

    def _was_answered(self, generation, token):
        return self._asked is not None and self._asked[0] == generation and hmac.compare_digest(self._asked[1], token)

    def _generation(self):
        try:
            with open(self._generation_file, "rb") as file:
                return file.read(64)
        except OSError:
            return b""

    async def _ask(self, access_token):
        """What the agent says, or nothing where there is none: code is run without its variables then."""
        headers = {"X-Access-Token": access_token} if access_token else {}
        timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
                async with session.get(f"{self._agent_url}/envs", headers=headers) as answer:
                    variables = await _variables(answer)
        except aiohttp.ClientConnectorError as error:
            # Nobody listens there. That there is no way to ask says nothing of the token.
            if not isinstance(error.os_error, ConnectionRefusedError):
                raise Refused(503, "the sandbox's agent cannot be asked about the access token: try again") from error
            log.info("there is no agent that tells the sandbox's variables: %s", error)
            return None
        except (TimeoutError, OSError, ValueError, aiohttp.ClientError) as error:
            # It may have refused.
            log.warning("the agent does not tell the sandbox's variables: %r", error)
            raise Refused(503, "the sandbox's agent does not say whether the access token is right: try again") from error
        return {name: value for name, value in variables.items() if isinstance(value, str)}


async def _variables(answer):
    if answer.status == 401:
        raise Refused(401, "the access token is missing or wrong: send the sandbox's as `X-Access-Token`")
    if answer.status != 200:
        raise ValueError(f"the answer has status {answer.status}")
    body = await answer.content.read(ANSWER_MAX_BYTES + 1)
    while len(body) <= ANSWER_MAX_BYTES and (more := await answer.content.read(ANSWER_MAX_BYTES)):
        body += more
    if len(body) > ANSWER_MAX_BYTES:
        raise ValueError(f"the answer has more than {ANSWER_MAX_BYTES} bytes")
    variables = json.loads(body)
    if not isinstance(variables, dict):
        raise ValueError("the answer is no JSON object")
    return variables
