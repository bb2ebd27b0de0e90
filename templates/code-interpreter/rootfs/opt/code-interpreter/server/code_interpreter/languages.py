"""The languages on offer, and by which names they go."""

from .faults import Refused

PYTHON, JAVASCRIPT, TYPESCRIPT, BASH = "python", "javascript", "typescript", "bash"
OFFERED = (PYTHON, JAVASCRIPT, TYPESCRIPT, BASH)
ALIASES = {"py": PYTHON, "python3": PYTHON, "js": JAVASCRIPT, "ts": TYPESCRIPT, "sh": BASH}
# Those that are listed before they were used.
LISTED_AT_FIRST = (PYTHON, JAVASCRIPT)


def parse(given):
    """The language that a request names; Python if it names none."""
    if given is None or given == "":
        return PYTHON
    if not isinstance(given, str):
        raise Refused(400, f"`language` must be a string, and is {given!r:.100}")
    name = given.strip().lower()
    name = ALIASES.get(name, name)
    if name not in OFFERED:
        raise Refused(400, f"`language` {given!r:.100} is not offered: use one of {', '.join(OFFERED)}")
    return name
