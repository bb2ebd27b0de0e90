"""Starts the IPython kernel. Usage: kernel.py -f CONNECTION_FILE

Our own folder is on the search path only for our own package: cells look for modules in their working folder, as ever.
"""

import sys

from interpreter_kernel import app

sys.path.pop(0)

if __name__ == "__main__":
    app.main()
