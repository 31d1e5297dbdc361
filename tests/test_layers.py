"""Imports point down only, and one module holds the active subnet."""

import ast
from pathlib import Path

import pytest

import eavit_mm

ROOT = Path(eavit_mm.__file__).parent
# From the design: what a part of the package may import of the others.
LAYERS: dict[str, set[str]] = {
    'version': set(),
    'files': set(),
    'options': set(),
    'registry': set(),
    'compat': set(),
    '__init__': {'compat', 'version'},
    'apis': {'analysis', 'engine', 'models', 'options', 'space'},
    'space': {'options', 'registry'},
    'datasets': {'options', 'registry'},
    'weights': set(),
    'models': {'options', 'space', 'registry', 'weights'},
    'search': {'files', 'options', 'space', 'registry'},
    'rearrange': {'models', 'space', 'registry'},
    'analysis': {
        'files',
        'models',
        'options',
        'registry',
        'search',
        'space',
    },
    'export': {
        'analysis',
        'files',
        'models',
        'options',
        'registry',
        'search',
        'space',
    },
    'engine': {
        'analysis',
        'datasets',
        'files',
        'models',
        'options',
        'rearrange',
        'registry',
        'search',
        'space',
        'weights',
    },
}
MODULES = sorted(ROOT.rglob('*.py'))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]
OWNER = ROOT / 'models' / 'elastic_vit.py'
# Of a model: set_budget, which a user calls, and nothing of training.
ASKED = ROOT / 'models' / 'elastic_model.py'


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix('.py')


def imported(path: Path) -> set[str]:
    """Full names of the package's modules that a module imports."""
    package = ('eavit_mm', *path.relative_to(ROOT).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            start = '.'.join(base) if node.level else ''
            module = '.'.join(filter(None, (start, node.module)))
            found |= {f'{module}.{alias.name}' for alias in node.names}
    return {name for name in found if name.split('.')[0] == 'eavit_mm'}


def test_every_part_has_a_layer():
    assert {part_of(path) for path in MODULES} == set(LAYERS)


def test_the_layers_have_no_circle():
    below: dict[str, set[str]] = {}
    for _ in LAYERS:
        below = {
            part: allowed.union(*(below.get(p, set()) for p in allowed))
            for part, allowed in LAYERS.items()
        }
    assert not [part for part, parts in below.items() if part in parts]


@pytest.mark.parametrize('path', MODULES, ids=NAMES)
def test_imports_point_down(path):
    part = part_of(path)
    others = {name.split('.')[1] for name in imported(path)} - {part}
    assert others <= LAYERS[part]


def test_imports_are_found(tmp_path, monkeypatch):
    # The reader of imports itself: every form of the statement.
    path = ROOT / 'space' / 'new.py'
    text = (
        'import eavit_mm.engine.cli\n'
        'from eavit_mm import models\n'
        'from ..datasets import split\n'
        'from .. import rearrange\n'
        'from . import subnet\n'
        'def f():\n    from eavit_mm.compat.mmcv_ops import g\n'
        'import torch\n'
    )
    monkeypatch.setattr(Path, 'read_text', lambda self: text)
    assert {name.split('.')[1] for name in imported(path)} == {
        'engine',
        'models',
        'datasets',
        'rearrange',
        'space',
        'compat',
    }


def test_modules_of_the_space_know_no_torch():
    for path in (ROOT / 'space').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or '']
            else:
                continue
            tops = {name.split('.')[0] for name in names}
            assert not tops & {'torch', 'mmcv', 'mmpretrain'}, path


STATE = ('_subnet', '_slices', 'subnet')


def assigned(path: Path) -> list[str]:
    """Attributes of the active subnet that a module assigns or sets."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
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


@pytest.mark.parametrize('path', MODULES, ids=NAMES)
def test_only_the_backbone_assigns_the_active_subnet(path):
    if path == OWNER:
        assert {'_subnet', '_slices', 'set_subnet'} <= set(assigned(path))
    else:
        assert assigned(path) == ['set_subnet'] * (path == ASKED)


def test_no_forward_of_a_layer_writes_to_its_module():
    for path in (ROOT / 'models').glob('*.py'):
        for function in ast.walk(ast.parse(path.read_text())):
            if getattr(function, 'name', '') not in ('forward', 'run'):
                continue
            stores = [
                node.attr
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
            ]
            assert not stores, path
