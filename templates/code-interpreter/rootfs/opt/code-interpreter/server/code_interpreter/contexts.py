"""All contexts of the sandbox: one for each language, made when first used, and those that clients make."""

import os

from . import languages
from .context import Context
from .faults import Refused

CONTEXTS_MAX = 64


class Contexts:
    """Contexts by ID, and which of them is a language's own."""

    def __init__(self, home, make_kernel, sandbox_env):
        self._home, self._make_kernel, self._sandbox_env = home, make_kernel, sandbox_env
        self._by_id, self._default_ids = {}, {}
        for language in languages.LISTED_AT_FIRST:
            self.default(language)

    def list(self):
        """In the order in which they were made."""
        return list(self._by_id.values())

    def get(self, context_id):
        """The context of this ID."""
        context = self._by_id.get(context_id) if isinstance(context_id, str) else None
        if context is None:
            raise Refused(404, f"there is no context {context_id!r:.100}: list the contexts, or create one")
        return context

    def default(self, language):
        """The language's own context."""
        context = self._by_id.get(self._default_ids.get(language))
        if context is None:
            context = self._add(language, self._home)
            self._default_ids[language] = context.id
        return context

    def create(self, language, cwd):
        """A context of a client's own."""
        language = languages.parse(language)
        return self._add(language, _folder(cwd) if cwd else self._home)

    async def remove(self, context_id):
        """Ends the context's processes and forgets it."""
        context = self.get(context_id)
        del self._by_id[context_id]
        await context.remove()

    async def close(self):
        """Ends all processes."""
        for context in self.list():
            await self.remove(context.id)

    def _add(self, language, cwd):
        if len(self._by_id) >= CONTEXTS_MAX:
            raise Refused(429, f"there are {CONTEXTS_MAX} contexts, which is the most there can be: remove one first")
        context = Context(language, cwd, self._make_kernel, self._sandbox_env)
        self._by_id[context.id] = context
        return context


def _folder(cwd):
    if not isinstance(cwd, str) or "\0" in cwd:
        raise Refused(400, f"`cwd` must be a path, and is {cwd!r:.100}")
    if not os.path.isabs(cwd):
        raise Refused(400, f"`cwd` {cwd!r:.200} is not an absolute path")
    if not os.path.isdir(cwd):
        raise Refused(400, f"`cwd` {cwd!r:.200} is not a folder: make it first")
    return cwd
