"""A script as a module."""

import importlib.util
import sys
from types import ModuleType

from tests.places import ROOT


def script(name: str) -> ModuleType:
    if name in sys.modules:  # one module a script, or its functions could not be sent to other processes
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
