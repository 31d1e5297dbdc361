"""Python in the pages and docstrings: it runs, its configs are built."""

import ast
import doctest
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from textwrap import dedent
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from seg_project import run_tool, write_config
from stage2 import ROOT, stage2_checkpoint, stage2_config, stage2_model
from test_docs import PAGES
from torch import nn

from eavit_mm import registry
from eavit_mm.engine.cli import build_supernet, read_config
from eavit_mm.export.dense import dense_network
from eavit_mm.space import Subnet

torch.set_num_threads(1)

# tests/test_configs_seg.py trains the config in the page of segmentors.
SHOWN = [page for page in PAGES if page.parent.name != 'eavit_seg']
FENCED = re.compile(r'^```(\w*)\n(.*?)^```', re.S | re.M)
# What is spoken of between the lines.
NAME = re.compile(r'eavit_mm\.[A-Z]\w+')
PART = re.compile(r"(dict\(type='eavit_mm\.[^`\n]*\))`")
INDENTED = re.compile(r'\n\n((?: {4}[^\n]*\n+)+)')
# Whose classes are built; others need a runner in any case.
BUILT = ('TASK_UTILS', 'HOOKS', 'METRICS', 'DATASETS', 'MODELS')


class MyHead(nn.Module):
    """The head of a reader."""


def examples() -> Iterator[tuple[str, str, str]]:
    """What docstrings show, with the name of it and its module."""
    for path in sorted(ROOT.glob('eavit_mm/**/*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ''
                found = doctest.DocTestParser().get_examples(text)
                if found:
                    shown = ''.join(example.source for example in found)
                    if isinstance(ast.parse(shown).body[0], ast.Expr):
                        shown = f'shown = {shown}'
                    module = path.relative_to(ROOT).with_suffix('')
                    yield node.name, '.'.join(module.parts), shown


def whole_parts(value: Any) -> Iterator[dict[str, Any]]:
    """The outermost dicts of a config that name a class of ours."""
    if isinstance(value, dict) and str(value.get('type'))[:9] == 'eavit_mm.':
        yield value
    elif isinstance(value, dict | list | tuple):
        inner = value.values() if isinstance(value, dict) else value
        for part in inner:
            yield from whole_parts(part)


def build(parts: Iterable[dict[str, Any]]) -> None:
    for part in parts:
        kinds = (getattr(registry, name) for name in BUILT)
        found = next((k for k in kinds if k.get(part['type'])), None)
        try:
            if found:
                found.build(part)
        except TypeError as error:
            if 'missing' not in str(error) or "'space'" not in str(error):
                raise  # a router gets the space from the whole model


def run(text: str, names: dict[str, Any]) -> None:
    """Runs a snippet; configs that it makes are valid, and build."""
    scope = 'mmseg' if re.search('Seg|decode_head', text) else 'mmpretrain'
    with DefaultScope.overwrite_default_scope(scope):
        before = dict(names)
        if text.startswith('_base_'):
            Path('snippet.py').write_text(text)
            made = dict(model=Config.fromfile('snippet.py').to_dict()['model'])
        else:
            exec(text, names)
            made = {k: v for k, v in names.items() if v is not before.get(k)}
            made.pop('__builtins__', None)
        registry.check_options('', made)
        with torch.device('meta'):
            build(whole_parts(made))


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """The files that snippets read; weights of the networks are random."""
    root = tmp_path_factory.mktemp('pages')
    (root / 'configs').symlink_to(ROOT / 'configs')
    for name in ('three.png', 'shirt.png', 'street.png'):
        cv2.imwrite(str(root / name), np.full((28, 28, 3), 99, np.uint8))
    work = root / 'work_dirs'
    adapted = work / 'demo/adapt/stage2/epoch_20.pth'
    adapted.parent.mkdir(parents=True)
    config = work / 'demo/adapt/stage2.py'
    stage2_config(config.parent).rename(config)
    stage2_checkpoint(stage2_model(config), adapted)
    routed = work / 'stage2/iter_6000.pth'
    routed.parent.mkdir()
    fashion = ROOT / 'configs/eavit/vitmini_fashion40_stage2.py'
    stage2_checkpoint(stage2_model(fashion), routed)
    segmented = write_config(root / 'seg')
    model: Any = build_supernet(read_config(str(segmented)), '')
    torch.save(dict(state_dict=model.state_dict()), root / 'seg.pth')
    for source, checkpoint, out, formats in (
        (config, adapted, 'small', ('onnx', 'pt2')),
        (segmented, root / 'seg.pth', 'small_seg', ()),
    ):
        run_tool(
            *(ROOT / 'tools/export.py', source, checkpoint, '--budget', '0.5'),
            *('--out', work / out, '--rounds', '1'),
            *('--format', 'pth', *formats),
        )
    return root


@pytest.mark.parametrize('page', SHOWN, ids=lambda k: str(k.relative_to(ROOT)))
def test_snippets_of_a_page(page: Path, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    names = dict(images=torch.zeros(2, 1, 28, 28), MyHead=MyHead)
    text = page.read_text()
    parts = [dict(type=name) for name in NAME.findall(text)]
    registry.check_options('', [*parts, *map(eval, PART.findall(text))])
    for kind, block in FENCED.findall(text):
        if kind == 'python':
            run(block, names)
        elif kind == 'json':
            assert Subnet.from_json(block)
    for block in INDENTED.findall(FENCED.sub('', text)):
        with pytest.raises(SyntaxError):  # Python is said to be Python
            ast.parse(dedent(block))


@pytest.fixture(scope='module')
def known() -> dict[str, Any]:
    """What docstrings take for granted: a ViT-B, without memory for it."""
    cfg = Config.fromfile(ROOT / 'configs/eavit/vitb_cifar100.py')
    cfg.model.data_preprocessor = cfg.data_preprocessor
    scope = DefaultScope.overwrite_default_scope('mmpretrain')
    with scope, torch.device('meta'):
        model = MODELS.build(cfg.model)
    space, macs = model.backbone.space, model.backbone.macs
    return dict(
        **dict(model=model, cfg=cfg, space=space, macs=macs, loader=[]),
        **dict(subnet=space.uniform(0.5), islice=islice, MyHead=MyHead),
        dense_network=dense_network,
    )


@pytest.mark.parametrize(
    ('module', 'text'), [pytest.param(*k[1:], id=k[0]) for k in examples()]
)
def test_example_of_a_docstring(
    module: str, text: str, known: Any, folder: Path, monkeypatch
) -> None:
    monkeypatch.chdir(folder)
    run(text, {**vars(import_module(module)), **known})
