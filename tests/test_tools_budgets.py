"""One checkpoint of stage 2 answers budgets, in every tool alike."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.registry import DATASETS
from stage2 import stage2_checkpoint, stage2_config, stage2_model

import eavit_mm  # noqa: F401
from eavit_mm.analysis.latency import build_table
from eavit_mm.models import BudgetSolver, budget_solver
from eavit_mm.space import Budget, Subnet

torch.set_num_threads(1)


@pytest.fixture(scope='module')
def config(tmp_path_factory: Any) -> Path:
    return stage2_config(tmp_path_factory.mktemp('stage2'))


@pytest.fixture(scope='module')
def model(config: Path) -> Any:
    return stage2_model(config)


@pytest.fixture(scope='module')
def checkpoint(model: Any, config: Path) -> Path:
    return stage2_checkpoint(model, config.with_name('epoch_1.pth'))


def expected(model: Any, text: str, by: str) -> Subnet:
    return BudgetSolver(model)([Budget.parse(text)], by)


def test_the_stock_inferencer_switches(
    model: Any, config: Path, checkpoint: Path
) -> None:
    inferencer = ImageClassificationInferencer(str(config), str(checkpoint))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        data = DATASETS.build(
            dict(type='eavit_mm.Digits', split='test', pipeline=[])
        )
    images = [data[i]['img'] for i in range(4)]
    seen = []
    for text in ('0.3', '0.9', '0.3'):
        subnet = inferencer.model.set_budget(text)
        assert subnet == expected(model, text, 'router')
        seen.append([r['pred_scores'] for r in inferencer(images)])
        other = ImageClassificationInferencer(str(config), str(checkpoint))
        with other.model.backbone.use(subnet):
            scores = [r['pred_scores'] for r in other(images)]
        np.testing.assert_allclose(seen[-1], scores, atol=1e-5)
    np.testing.assert_array_equal(seen[0], seen[2])
    assert np.abs(np.array(seen[0]) - np.array(seen[1])).max() > 1e-3


@pytest.mark.parametrize('by', ['router', 'front', 'uniform'])
def test_tables_tell_what_is_used(
    model: Any, config: Path, checkpoint: Path, call: Any, by: str, capsys: Any
) -> None:
    budgets = ('0.2', '0.6', '5MMACs', '0.3Mparams')
    call('test.py', config, checkpoint, '--budgets', *budgets, '--by', by)
    text = capsys.readouterr().out
    assert '% budget' in text
    result = json.loads(
        Path('work_dirs/digits_stage2/subnets.json').read_text()
    )
    for budget, row in zip(budgets, result['subnets'], strict=True):
        subnet = expected(model, budget, by)
        assert Subnet.from_dict(row['subnet']) == subnet
        assert row['delivered'] <= row['limit']
        if by == 'router':
            assert row['used'] > 0.95
        if by == 'front':
            assert row['regret'] == 0
    assert 'regret' in result
    assert result['samples'] > 0


def test_times_that_the_router_did_not_learn_are_told(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        budget_solver, 'print_log', lambda text, *args: said.append(text)
    )
    table = build_table(model, rounds=1)
    monkeypatch.setattr(model.router, 'latency_setting', table.setting)
    BudgetSolver(model)
    BudgetSolver(model, table=replace(table, error=0.1))
    assert not said
    BudgetSolver(model, table=replace(table, backend='onnxruntime'))
    (line,) = said
    assert "{'backend': 'torch'}, this one is of {'backend': 'onnx" in line


@pytest.mark.parametrize('by', ['front', 'router'])
def test_exports_answer_budgets_too(
    model: Any, config: Path, checkpoint: Path, call: Any, by: str
) -> None:
    args = ('--budget', '0.4', '--by', by, '--rounds', '1', '--out', 'out')
    call('export.py', config, checkpoint, *args)
    found = Subnet.from_file('out/subnet.json')
    assert found == expected(model, '0.4', by)
    state = torch.load('out/model.pth', weights_only=True)
    names = state['state_dict']
    assert not any(name.startswith('router') for name in names)


def test_a_front_answers_before_stage_2(
    model: Any, config: Path, checkpoint: Path, call: Any, capsys: Any
) -> None:
    """In the tools alike; a budget out of reach leaves the others."""
    first = config.with_name('stage1.py')
    text = f"_base_ = ['{config}']\nmodel = dict(router=None)\n"
    first.write_text(text)
    front = config.with_name('pareto.json')
    model.router.front.write(front)
    member = model.router.front.members[4]
    budget, files = f'{member.macs}macs', (first, checkpoint)
    asked = ('--budgets', '0.1%', budget, '--front', front)
    with pytest.raises(SystemExit, match='error: --budgets 0.1%: cannot be'):
        call('test.py', *files, *asked)
    text = capsys.readouterr().out
    assert 'budget 0.1%: ' in text
    path = Path('work_dirs/stage1/subnets.json')
    row, missed = json.loads(path.read_text())['subnets']
    assert Subnet.from_dict(row['subnet']) == member.subnet
    assert row['by'] == 'front'
    assert row['regret'] == 0
    assert missed['error'] in text
    where = ('--rounds', '1', '--out', 'out')
    call('export.py', *files, '--budget', budget, '--front', front, *where)
    assert Subnet.from_file('out/subnet.json') == member.subnet
    report = json.loads(Path('out/report.json').read_text())
    assert report['source']['by'] == 'front'
    assert report['source']['budget'] == budget
    assert 'Answered by: front' in capsys.readouterr().out
    for tool, option in (('test.py', 's'), ('export.py', '')):
        given = (f'--budget{option}', '0.5', '--by', 'front', '--out', 'o')
        with pytest.raises(SystemExit, match="by='front'; must be one of"):
            call(tool, *files, *given)
    with pytest.raises(SystemExit, match='--front .* is about budgets, and'):
        call('test.py', *files, '--front', front)
    with pytest.raises(SystemExit, match='is the file to read and to write'):
        call('test.py', *files, *asked, '--out', front)


@pytest.mark.parametrize('more', [(), ('--tta',)])
def test_results_are_not_written_over_the_front(
    config: Path,
    checkpoint: Path,
    call: Any,
    tmp_path: Path,
    more: tuple[str, ...],
) -> None:
    front = tmp_path / 'pareto.json'
    front.write_text('{}')
    routed = tmp_path / 'routed.py'
    text = f"model = dict(router=dict(front='{front}'))\n"
    routed.write_text(f"_base_ = ['{config}']\n{text}")
    asked = ('--budgets', '0.5', *more)
    for out, words in (
        (front, 'is the file to read and to write'),
        (tmp_path, 'is a folder'),
    ):
        with pytest.raises(SystemExit, match=words):
            call('test.py', routed, checkpoint, *asked, '--out', out)
    assert front.read_text() == '{}'
