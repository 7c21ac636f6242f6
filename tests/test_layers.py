"""The laws of dask_coded/DESIGN.md that can be read off the source text.

Each law is a pure function from ``{module name: source}`` to a list of offences, so that a second
test can show it a made-up offender: a law that cannot fail guards nothing.
"""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = "dask_coded"

#: Layer of every top-level module and folder. Imports stay in their layer or go to a lower one.
LAYERS = {
    "errors": 0,
    "typing": 0,
    "fields": 1,
    "codes": 2,
    "kernels": 2,
    "graph": 3,
    "cluster": 4,
    "array": 4,
    "store": 4,
    "preload": 5,
    "plan": 5,
    "neighbors": 5,
    "learn": 5,
    "private": 5,
}
#: May import anything; may be imported by nothing below.
ABOVE_ALL = {"", "__main__", "demo", "testing"}
#: Two folders of one layer are strangers unless (importer, imported) stands here.
SIBLINGS = {
    ("array", "cluster"),  # a verb enables the runtime on first use, and computes in its slices
}
#: Up to this layer everything is NumPy: neither dask nor distributed.
LAST_PURE_LAYER = 2
#: And these above it, which decide from plain values. mypy checks them strictly, as pyproject says.
PURE_MODULES = {
    f"{PACKAGE}.array._plan",
    f"{PACKAGE}.cluster._policy",
    f"{PACKAGE}.cluster._suspects",
}
#: Modules of others with private interfaces, and the only folder that may import each.
RESERVED_MODULES = {"dask._task_spec": "graph"}
#: Scheduler state that no interface promises, and the only module that may touch it. That module
#: is also the only one of cluster/ that reads an underscored attribute of somebody else's object.
STATE_MODULE = f"{PACKAGE}.cluster._scheduler_state"
STATE_ATTRIBUTES = {
    "_ongoing_background_tasks",
    "_queueable",
    "_transition",
    "_transitions",
    "run_spec",
    "waiters",
    "waiting_on",
}
#: What `import dask_coded` must not load.
OPTIONAL = (
    "cupy",
    "dask_cloudprovider",
    "galois",
    "hypothesis",
    "matplotlib",
    "pytest",
    "scipy",
    "sklearn",
    "zarr",
)

Sources = dict[str, str]


def package_sources() -> Sources:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    sources = {}
    for path in sorted(root.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(root).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        sources[".".join(parts)] = path.read_text(encoding="utf-8")
    return sources


def is_package(module: str, sources: Sources) -> bool:
    return any(other.startswith(module + ".") for other in sources)


def folder(module: str) -> str:
    """Key of LAYERS: ``dask_coded.codes._mds`` -> ``codes``; the package itself -> ``""``."""
    return module.removeprefix(PACKAGE).lstrip(".").partition(".")[0]


def imports(module: str, sources: Sources) -> Iterator[tuple[str, int]]:
    """Every imported module with its line, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(sources[module])):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                drop = node.level - is_package(module, sources)
                parent = module.split(".")[: len(module.split(".")) - drop]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield (
                    (deeper if deeper in sources or deeper in RESERVED_MODULES else base),
                    node.lineno,
                )


def own_imports(module: str, sources: Sources) -> Iterator[tuple[str, int]]:
    for target, line in imports(module, sources):
        if target == PACKAGE or target.startswith(PACKAGE + "."):
            yield target, line


def unplaced_modules(sources: Sources) -> list[str]:
    return [m for m in sources if folder(m) not in ABOVE_ALL and folder(m) not in LAYERS]


def upward_imports(sources: Sources) -> list[str]:
    offences = []
    for module in sources:
        here = folder(module)
        if here in ABOVE_ALL or here not in LAYERS:
            continue
        for target, line in own_imports(module, sources):
            there = folder(target)
            where = f"{module}:{line} imports {target}"
            if there in ABOVE_ALL:
                offences.append(f"{where}, which stands above all layers")
            elif there not in LAYERS:
                offences.append(f"{where}, which is not in the layer table")
            elif LAYERS[there] > LAYERS[here]:
                offences.append(f"{where}: from layer {LAYERS[here]} up to layer {LAYERS[there]}")
            elif there != here and LAYERS[there] == LAYERS[here] and (here, there) not in SIBLINGS:
                offences.append(f"{where}, a stranger in the same layer")
    return offences


def _for_types_only(source: str) -> set[int]:
    """Lines under ``if TYPE_CHECKING:``, which never run."""
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    }


def import_cycles(sources: Sources) -> list[str]:
    """Modules that import each other in a ring, late imports inside functions included."""
    edges = {}
    for module, source in sources.items():
        unrun = _for_types_only(source)
        found = {t for t, line in own_imports(module, sources) if line not in unrun}
        edges[module] = found & sources.keys()
    while True:
        imported = set().union(*edges.values())
        # A module in a ring both imports and is imported; peel off those that do only one of them.
        ring = {m: targets & edges.keys() for m, targets in edges.items() if m in imported}
        ring = {m: targets for m, targets in ring.items() if targets}
        if ring == edges:
            return sorted(ring)
        edges = ring


def impure_imports(sources: Sources) -> list[str]:
    offences = []
    for module in sources:
        layer = LAYERS.get(folder(module), LAST_PURE_LAYER + 1)
        if layer > LAST_PURE_LAYER and module not in PURE_MODULES:
            continue
        for target, line in imports(module, sources):
            if target.partition(".")[0] in ("dask", "distributed"):
                offences.append(f"{module}:{line} imports {target}, and is to be pure")
    return offences


def reserved_imports(sources: Sources) -> list[str]:
    offences = []
    for module in sources:
        for target, line in imports(module, sources):
            for reserved, owner in RESERVED_MODULES.items():
                if f"{target}.".startswith(reserved + ".") and folder(module) != owner:
                    offences.append(f"{module}:{line} imports {target}; only {owner}/ may")
    return offences


def private_state(sources: Sources) -> list[str]:
    offences = []
    for module, source in sources.items():
        if module == STATE_MODULE or folder(module) == "testing":
            continue
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Attribute):
                continue
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            underscored = node.attr.startswith("_") and not node.attr.endswith("__")
            foreign = folder(module) == "cluster" and underscored and not own
            if foreign or (node.attr in STATE_ATTRIBUTES and not own):
                offences.append(
                    f"{module}:{node.lineno} touches .{node.attr}; only {STATE_MODULE} may"
                )
    return offences


def _last_name(node: ast.expr) -> str:
    """``Generic[T]`` -> ``Generic``, ``abc.ABC`` -> ``ABC``."""
    if isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def subclassed_finals(sources: Sources) -> list[str]:
    """Abstract or final: what can be instantiated is never a base. Exceptions form a tree."""
    bases = {}
    for module, source in sources.items():
        if folder(module) == "errors":
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                bases[module, node.name] = [_last_name(base) for base in node.bases]
    concrete = {
        name
        for (_, name), parents in bases.items()
        if not name.startswith(("Abstract", "_")) and "Protocol" not in parents
    }
    return [
        f"{module}: {name} subclasses {parent}, which is final"
        for (module, name), parents in bases.items()
        for parent in parents
        if parent in concrete
    ]


def instantiated_abstracts(sources: Sources) -> list[str]:
    return [
        f"{module}:{node.lineno} instantiates {_last_name(node.func)}"
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and _last_name(node.func).startswith("Abstract")
    ]


Law = Callable[[Sources], list[str]]

#: Each law, with the smallest package that breaks it.
LAWS: dict[Law, Sources] = {
    unplaced_modules: {"dask_coded.utils": ""},
    upward_imports: {
        "dask_coded.fields": "",
        "dask_coded.fields._real": "from dask_coded.codes import MDS",
        "dask_coded.codes": "",
    },
    import_cycles: {
        "dask_coded.codes": "from dask_coded.codes._a import f",
        "dask_coded.codes._a": "from dask_coded.codes import _b",
        "dask_coded.codes._b": "def late():\n    from dask_coded.codes._a import f",
    },
    impure_imports: {"dask_coded.codes": "import dask.array as da"},
    reserved_imports: {"dask_coded.array": "from dask import _task_spec"},
    private_state: {"dask_coded.cluster._plugin": "def f(scheduler):\n    scheduler._x = 1"},
    subclassed_finals: {"dask_coded.codes": "class MDS:\n    pass\nclass Odd(MDS):\n    pass"},
    instantiated_abstracts: {"dask_coded.codes": "code = AbstractCode()"},
}

by_name = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)


@by_name
def test_law_holds(law: Law) -> None:
    assert law(package_sources()) == []


@by_name
def test_law_sees_its_offender(law: Law) -> None:
    assert law(LAWS[law])


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("dask_coded.cluster", "import dask_coded.array"),
        ("dask_coded.store", "from dask_coded import array"),
        ("dask_coded.kernels", "from dask_coded import codes"),
        ("dask_coded.codes._mds", "from ..graph import build"),
        ("dask_coded.codes._mds", "from dask_coded import MDS"),
        ("dask_coded.learn", "from dask_coded.testing import CodeTests"),
    ],
)
def test_upward_imports_in_every_spelling(importer: str, statement: str) -> None:
    sources = dict.fromkeys([PACKAGE, *(f"{PACKAGE}.{name}" for name in LAYERS)], "")
    assert upward_imports(sources | {importer: statement})


def test_downward_imports_are_welcome() -> None:
    sources = dict.fromkeys([PACKAGE, *(f"{PACKAGE}.{name}" for name in LAYERS)], "")
    sources[f"{PACKAGE}.graph._build"] = "from ..codes import MDS\nfrom dask_coded import errors"
    sources[f"{PACKAGE}.testing"] = "import dask_coded\nfrom dask_coded.learn import anything"
    assert upward_imports(sources) == []


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.codes", f"{PACKAGE}.kernels"])
def test_import_loads_no_optional_package(module: str) -> None:
    # What Dask itself loads where it is installed (SciPy, for sparse chunks) is none of our doing.
    program = (
        "import sys, dask.array, distributed; before = set(sys.modules); "
        f"import {module}; new = sys.modules.keys() - before; "
        f"print(*sorted({set(OPTIONAL)!r} & {{name.partition('.')[0] for name in new}}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []


def test_design_page_places_every_folder_as_this_table_does() -> None:
    page = Path(__file__).parents[1] / PACKAGE / "DESIGN.md"
    rows = re.findall(r"^\| (\S+) \| ([^|]+) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    placed = {name: layer for layer, names in rows for name in re.findall(r"`(\w+)`", names)}
    existing = {folder(module) for module in package_sources()} - {""}
    assert {name: placed.get(name) for name in existing} == {
        name: str(LAYERS.get(name, "-")) for name in existing
    }


def test_mypy_is_strict_with_every_pure_module() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    overrides = tomllib.loads(text)["tool"]["mypy"]["overrides"]
    relaxed = {
        name for entry in overrides if entry.get("ignore_errors") for name in entry["module"]
    }
    strict = {
        name
        for entry in overrides
        if entry.get("ignore_errors") is False
        for name in entry["module"]
    }
    pure = {name for name, layer in LAYERS.items() if layer <= LAST_PURE_LAYER}
    assert not relaxed & {f"{PACKAGE}.{name}.*" for name in pure}
    assert strict == PURE_MODULES
