"""The page of models: its figures are the records', its commands are ones."""

import importlib
import json
import re
import runpy
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml
from tool_runs import ROOT

RECORDS = ROOT / 'docs' / 'benchmark'
# Method: the stage and source of its answers, and the leaf in the metafiles.
PHOTOGRAPHS = {
    'EA-ViT': ('stage2', 'router', 'eavit_vitti_{}'),
    'DynaBERT': ('depth', 'front', 'dynabert_vitti_{}'),
    'MatFormer': ('trained', 'front', 'matformer_vitti_{}'),
    'HydraViT': ('trained', 'front', 'hydravit_vitti_{}'),
    'Flextron': ('phase2', 'router', 'flextron_vitti_{}'),
}
FASHION = {
    'default': 'eavit_vitmini_fashion40',
    'hydravit': 'hydravit_vitmini_fashion40',
    'scala': 'scala_vitmini_fashion40',
}


def read(name: str) -> Any:
    return json.loads((RECORDS / f'{name}.json').read_text())


def means(budget: float = 1.0) -> dict[str, float]:
    """Name of a model to what its records say, seeds together."""
    found = defaultdict(list)
    for page in ('real_cls', 'real_seg'):
        for run in read(page):
            stage, source, leaf = PHOTOGRAPHS.get(run['method'], [''] * 3)
            if answers := run['answers'].get(stage, {}).get(source):
                value = {b: metric for b, _, metric in answers}[budget]
                found[leaf.format(run['regime'])].append(value)
    for run in read('accuracy') if budget == 1 else ():
        if run['regime'] == 'fashion40' and run['method'] in FASHION:
            found[FASHION[run['method']]].append(max(run['test'].values())[1])
    return {name: fmean(values) for name, values in found.items()}


@cache
def parser(tool: str) -> Any:
    """What reads the command line of a tool."""
    return runpy.run_path(str(ROOT / tool))['parse_args']


@pytest.fixture(scope='module')
def page() -> str:
    sys.path.append(str(ROOT / 'docs' / 'site'))
    return ''.join(importlib.import_module('zoo').models())


@pytest.fixture(scope='module')
def rows(page: str) -> dict[str, list[str]]:
    """Name of a model to the cells behind it."""
    found = re.findall(r'^\| \[[^\]]+\]\(#([^)]+)\) \| (.*) \|$', page, re.M)
    return {name: cells.split(' | ') for name, cells in found}


def test_every_model_has_a_row_with_the_mean_of_its_records(
    rows: dict[str, list[str]],
) -> None:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    folders = {p.parent.name for p in ROOT.glob('configs/*/*.py')} - {'_base_'}
    assert {file.split('/')[1] for file in index} == folders
    models = {
        model['Name']: model
        for file in index
        for model in yaml.safe_load((ROOT / file).read_text())['Models']
    }
    assert rows.keys() == models.keys()
    found = means()
    assert len(found) >= 25
    half = means(0.5)
    assert 20 < len(half) < len(found)
    for name, value in found.items():
        assert rows[name][0].startswith(f'{value:.2f}'), name
        result = models[name]['Results'][0]
        label = 'mIoU' if 'Segm' in result['Task'] else 'Top 1 Accuracy'
        metrics = {label: round(value, 2)}
        if name in half:
            metrics[f'{label} at 50% of the MACs'] = round(half[name], 2)
        assert result['Metrics'] == metrics, name
    for name, model in models.items():
        (result,) = model['Results']
        for number in result.get('Paper', {}).values():
            assert f'{number:.2f}' in rows[name][1]
    for name in ('flowers89', 'dtd10'):
        cuts = [
            run['cut']
            for run in read('snap')
            if (run['method'], run['regime']) == ('start', name)
        ]
        for values in zip(*cuts, strict=True):
            mean = f'{fmean(values):.1f} ± '
            assert mean in rows['snapvit_vitti_photos'][0]


def test_metafiles_have_the_figures_of_the_records(page: str) -> None:
    """Stale ones are renewed by ``python docs/site/metafiles.py``."""
    for path, text in importlib.import_module('metafiles').renewed().items():
        assert path.read_text() == text, path


def test_commands_are_read_by_their_tools(
    page: str, rows: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = re.findall(r'^### (\S+)\n\n```bash\n(.*?)```', page, re.M | re.S)
    blocks = {name: text.splitlines() for name, text in found}
    assert blocks.keys() == rows.keys()
    for name, lines in blocks.items():
        # A name of a record leads to the command that measured it.
        pages = set(re.findall(r'\[(\w+)\]\(benchmark/\1', rows[name][0]))
        modules = re.findall('-m benchmarks.([a-z0-9_]+) ', '\n'.join(lines))
        assert pages == set(modules)
        made: set[str] = set()  # the work directories
        for line in lines:
            _, tool, *words = f'{line} '.split(' ')
            if not tool.startswith('tools/'):
                continue
            monkeypatch.setattr(sys, 'argv', [tool, *filter(None, words)])
            args = parser(tool)()
            assert (ROOT / args.config).is_file()
            used = {Path(w).parent.name for w in words if w[:5] == 'work_'}
            assert used <= made, line
            made.add(Path(args.config).stem)
    phases = blocks['dynabert_vitti_btmri'][:3]
    assert [line.split('/')[-1] for line in phases] == [
        'dense_vitti_btmri.py',
        'dynabert_vitti_btmri.py',
        'dynabert_vitti_btmri_phase2.py',
    ]
    assert 'latency.py build' in blocks['flextron_vitti_btmri'][1]
