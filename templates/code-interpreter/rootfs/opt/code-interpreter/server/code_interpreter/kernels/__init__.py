"""Kernels: the processes that hold a context's state, one module for each kind."""

from .. import languages
from .bash import BashKernel
from .ipython import IPythonKernel
from .node import NodeKernel


class Programs:
    """Where the programs of the kernels are, and the folder that kernels may put their sockets in."""

    def __init__(self, root, python, node, bash, work_folder):
        self.root, self.python, self.node, self.bash, self.work_folder = root, python, node, bash, work_folder

    def kernel(self, language, cwd):
        """A kernel of the language, which is yet to be started."""
        if language == languages.PYTHON:
            return IPythonKernel(self, cwd)
        if language == languages.BASH:
            return BashKernel(self, cwd)
        return NodeKernel(self, cwd, types=language == languages.TYPESCRIPT)
