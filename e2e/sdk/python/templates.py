"""Makes templates of images that the daemon has, by the SDK. Usage: templates.py base|code-interpreter…"""

import sys
import time

from e2b import Template, wait_for_url

SIZE = {"cpu_count": 1, "memory_mb": 512}


def base():
    return "base", Template().from_image("hearth/template-base")


def code_interpreter():
    """Its server is there, with a warm kernel, in the snapshot that sandboxes go on from."""
    image = Template().from_image("hearth/template-code-interpreter")
    return "code-interpreter-v1", image.set_start_cmd("/opt/code-interpreter/start", wait_for_url("http://127.0.0.1:49999/health"))


for wish in sys.argv[1:]:
    began = time.monotonic()
    name, template = {"base": base, "code-interpreter": code_interpreter}[wish]()
    Template.build(template, name, **SIZE)
    print(f"made the template {name} in {time.monotonic() - began:.1f} s", file=sys.stderr)
