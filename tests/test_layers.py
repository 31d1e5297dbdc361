"""The house's laws on its own source, read from the syntax trees.

Imports point down and in no circle, one module holds the active subnet, and
functions and files stay short.
"""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'eavit_mm'
GROUND = {'files', 'options', 'registry'}
# What a part of the package may import of the others.
LAYERS: dict[str, set[str]] = {
    '__init__': {'compat', 'version'},
    '__main__': {'files'},
    'version': set(),
    'compat': set(),
    'files': set(),
    'options': set(),
    'registry': set(),
    'space': GROUND,
    'download': set(),
    'weights': GROUND | {'download'},
    'datasets': GROUND | {'download'},
    'models': GROUND | {'space', 'weights'},
    'search': GROUND | {'space'},
    'rearrange': GROUND | {'models', 'search', 'space'},
    'analysis': GROUND | {'models', 'search', 'space'},
    'snap': GROUND | {'models', 'rearrange', 'search', 'space'},
    'export': GROUND | {'analysis', 'models', 'search', 'snap', 'space'},
    'engine': GROUND
    | {'analysis', 'datasets', 'export', 'models', 'rearrange'}
    | {'search', 'snap', 'space', 'weights'},
    'doctor': GROUND | {'datasets', 'engine', 'models', 'space', 'weights'},
    'apis': GROUND
    | {'analysis', 'engine', 'export', 'models', 'snap', 'space'},
}
# Folders beside the package and what they may not import.
BESIDE = {
    'eavit_mm': {'tools', 'benchmarks', 'tests'},
    'tools': {'benchmarks', 'tests'},
    'benchmarks': {'tests'},
}
SHORT = ('eavit_mm', 'tools', 'benchmarks', 'tests', 'requirements', 'configs')
MOST_LINES = {'function': 60, 'file': 450}
MODULES = sorted(PACKAGE.rglob('*.py'))
OWNER = PACKAGE / 'models' / 'elastic_vit.py'
# A model's set_budget, which a user calls, and nothing of training.
ASKED = PACKAGE / 'models' / 'elastic_model.py'


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(tree: ast.AST, package: tuple[str, ...]) -> set[str]:
    """Full names that a module imports, wherever the statement stands."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            start = '.'.join(base) if node.level else ''
            module = '.'.join(filter(None, (start, node.module)))
            found |= {f'{module}.{alias.name}' for alias in node.names}
    return found


def imported(path: Path) -> set[str]:
    return imports(tree_of(path), path.relative_to(ROOT).parent.parts)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def module_name(path: Path) -> str:
    """Such as 'eavit_mm.space.subnet', 'eavit_mm.space' for its __init__."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts).removesuffix('.__init__')


def module_graph() -> dict[str, set[str]]:
    """Every module of the package and the modules that it imports.

    A module also runs the __init__ of the folders above it; that is left
    out, since no import statement can avoid it.
    """
    names = {module_name(path) for path in MODULES}
    graph = {}
    for path in MODULES:
        targets = set()
        for name in imported(path):
            module = name if name in names else name.rpartition('.')[0]
            targets |= {module} & names
        graph[module_name(path)] = targets - {module_name(path)}
    return graph


def test_every_part_has_a_layer() -> None:
    assert {part_of(path) for path in MODULES} == set(LAYERS)
    TopologicalSorter(LAYERS).prepare()  # raises at a circle


def test_imports_point_down() -> None:
    wrong = []
    for path in MODULES:
        part = part_of(path)
        ours = {n for n in imported(path) if n.startswith('eavit_mm.')}
        others = {name.split('.')[1] for name in ours} - {part}
        wrong += [(module_name(path), n) for n in others - LAYERS[part]]
    assert not wrong


@pytest.mark.parametrize('folder', BESIDE)
def test_folders_beside_the_package_are_not_below_it(folder: str) -> None:
    for path in (ROOT / folder).rglob('*.py'):
        tops = {name.split('.')[0] for name in imported(path)}
        assert not tops & BESIDE[folder], path


def test_modules_import_in_no_circle() -> None:
    graph = module_graph()
    TopologicalSorter(graph).prepare()  # raises, and names the circle
    assert 'eavit_mm.space.subnet' in graph['eavit_mm.space.cells']
    assert 'eavit_mm.space.budget' in graph['eavit_mm.space']


def test_modules_of_the_space_know_no_torch() -> None:
    for path in (PACKAGE / 'space').rglob('*.py'):
        tops = {name.split('.')[0] for name in imported(path)}
        assert not tops & {'torch', 'mmcv', 'mmpretrain', 'mmseg'}, path


def test_functions_and_files_are_short() -> None:
    functions, files = set(), set()
    for folder in SHORT:
        for path in (ROOT / folder).rglob('*.py'):
            name = str(path.relative_to(ROOT))
            if len(path.read_text().splitlines()) > MOST_LINES['file']:
                files.add(name)
            for node in ast.walk(tree_of(path)):
                if not isinstance(node, ast.FunctionDef):
                    continue
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > MOST_LINES['function']:
                    functions.add(f'{name} {node.name}')
    assert not functions
    assert not files


STATE = ('subnet', 'slices')


def assigned(path: Path) -> list[str]:
    """Attributes of the active subnet that a module assigns or sets."""
    found = []
    for node in ast.walk(tree_of(path)):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store | ast.Del)
            and node.attr in STATE
        ):
            found.append(node.attr)
        elif isinstance(node, ast.Call):
            name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
            values = [getattr(arg, 'value', None) for arg in node.args]
            if name == 'set_subnet':
                found.append(name)
            elif name == 'setattr' and set(values) & set(STATE):
                found.append('setattr')
    return found


def test_only_the_backbone_assigns_the_active_subnet() -> None:
    for path in MODULES:
        if path == OWNER:
            assert {'subnet', 'slices', 'set_subnet'} <= set(assigned(path))
        else:
            assert assigned(path) == ['set_subnet'] * (path == ASKED), path


def test_no_forward_writes_to_its_module() -> None:
    for path in MODULES:
        for function in ast.walk(tree_of(path)):
            if getattr(function, 'name', '') not in ('forward', 'run'):
                continue
            if path.is_relative_to(PACKAGE / 'engine'):  # loops count epochs
                continue
            stores = [
                node.attr
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
            ]
            assert not stores, path
