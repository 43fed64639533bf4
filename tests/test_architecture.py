"""The rooms of the house: which file may import which."""

import ast

import pytest

from tests.places import ROOT

PACKAGE = ROOT / "medssl"
FLOORS = (
    {"common", "reliability"},
    {"losses", "metrics", "networks"},
    {"annotators", "data", "methods"},
    {"inference", "planning"},
    {"evaluation", "reports", "training"},
    {"protocol", "review"},
    {"cli", "commands"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
LIGHT = {"common", "reliability", "losses", "metrics"}
HEAVY = {"monai", "ignite", "pandas", "matplotlib", "nibabel", "SimpleITK", "transformers", "h5py", "ray"}


def name_of(path):
    """Dotted name of a module; of an ``__init__.py`` that of its package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path):
    """Modules that a file imports anywhere, inside functions and for types alone, too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in MODULES else str(node.module))
    return names


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    room = room_of(module)
    if room in (None, "__main__"):
        return  # the front door opens every room, and opens it late
    for imported in imports_of(MODULES[module]):
        if imported.split(".")[0] == "medssl" and room_of(imported) is not None:
            assert FLOOR[room_of(imported)] <= FLOOR[room], f"{module} imports {imported} from a floor above"


@pytest.mark.parametrize("module", MODULES)
def test_the_lower_rooms_need_nothing_large(module):
    outside = {name.split(".")[0] for name in imports_of(MODULES[module])}
    if room_of(module) in LIGHT:
        assert not outside & HEAVY
    if FLOOR.get(room_of(module), 6) < FLOOR["reports"]:
        assert not outside & {"matplotlib", "pandas"}


def test_a_report_is_made_without_monai():
    """Importing it takes as long as the whole report."""
    pending, reached = ["medssl.protocol.report.build"], set()
    while pending:
        module = pending.pop()
        if module not in reached:
            reached.add(module)
            imported = imports_of(MODULES[module])
            assert not {name.split(".")[0] for name in imported} & {"monai", "ignite"}, module
            parts = module.split(".")
            packages = {".".join(parts[:length]) for length in range(2, len(parts))}
            pending += [name for name in imported | packages if name in MODULES]


def test_there_is_no_circle_between_files():
    graph = {m: {i for i in imports_of(path) if i in MODULES and i != m} for m, path in MODULES.items()}
    graph["medssl"] = set()  # its names are looked up when they are used
    finished, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in finished:
            return
        path.append(module)
        for imported in sorted(graph[module]):
            visit(imported)
        path.pop()
        finished.add(module)

    for module in graph:
        visit(module)


def test_every_room_has_a_floor():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "resources")}
    assert rooms - {"__init__", "__main__", "py"} <= set(FLOOR) | {"py"}
