"""``tools/snap.py``, and what other tools make of its files."""

import json
import runpy
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from tool_runs import DIGITS, ROOT, TOOLS, forget_runs

from eavit_mm.apis import ask, load
from eavit_mm.engine.checkpoint import load_supernet
from eavit_mm.files import lock
from eavit_mm.snap.scores import FisherScores
from eavit_mm.space import Subnet
from eavit_mm.space.pareto import ParetoFront

PRETRAINED = ROOT / 'configs' / 'vit' / 'vitmini_fashion.pth'
NEW_HEAD = ('--cfg-options', 'model.new_head=True')
FEW = ('--images', 24, '--batch-size', 8)
BUDGETS = ('--budgets', '37%', '0.4Mparams')
DEFAULT = (DIGITS, PRETRAINED, *FEW, *BUDGETS)
SNAP = (*DEFAULT, '--evaluations', 20)


@pytest.fixture(scope='module')
def snapped(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('snapped')
    tool = TOOLS / 'snap.py'
    argv = [tool, *SNAP, '--work-dir', folder, *NEW_HEAD]
    forget_runs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('sys.argv', [*map(str, argv)])
        runpy.run_path(str(tool), run_name='__main__')
    return folder


def network(checkpoint: Path) -> Any:
    cfg = Config.fromfile(DIGITS)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(dict(cfg.model, new_head=True))
    meta = load_supernet(model, checkpoint)
    model.eval()
    return model.double(), meta


def test_the_network_is_sorted_and_the_front_is_of_it(snapped):
    model, meta = network(snapped / 'snap.pth')
    assert meta['eavit_mm']['rearrangement'] == 'SnapViT'
    stock, _ = network(PRETRAINED)
    x = torch.randn(3, 1, 28, 28, dtype=torch.float64)
    with torch.no_grad():
        features = [each.backbone(x)[-1] for each in (model, stock)]
    sorted_ = [each.sort(dim=1).values for each in features]
    torch.testing.assert_close(*sorted_, rtol=0, atol=1e-9)
    assert not torch.equal(*features)
    space = model.backbone.space
    front = ParetoFront.read(snapped / 'pareto.json', space)
    assert front.metric == 'similarity'
    assert front.samples == 24
    assert front.members[-1].subnet == space.largest
    assert front.members[-1].metrics['similarity'] == pytest.approx(1)
    assert len(front.members) > 5
    known = (*front.members, *front.references)
    used = [m.macs / model.macs()['total'] for m in known]
    assert min(used) < 0.3
    # Asked for: nothing on the grid comes as near.
    assert max(share for share in used if share <= 0.37) > 0.3
    assert front.objectives == ('metric', 'macs', 'params')
    assert max(m.params for m in known if m.params <= 4e5) > 3.5e5


def stopped(add: Any) -> Any:
    """Scores of one batch alone."""

    def after_one(sums: FisherScores, images: torch.Tensor) -> None:
        if sums.number:
            raise KeyboardInterrupt
        add(sums, images)

    return after_one


def test_the_same_command_gives_the_same_front(
    snapped, tmp_path, call, monkeypatch
):
    killed = tmp_path / 'killed'
    copytree(snapped, killed)
    whole = (snapped / 'pareto.json').read_bytes()
    for name in ('pareto.json', 'snap.pth'):
        (killed / name).unlink()
    path = killed / 'coefficients.json'
    kept = json.loads(path.read_text())
    assert sum(len(g['order']) for g in kept['generations']) == 20
    del kept['generations'][1:]
    path.write_text(json.dumps(kept))
    (killed / 'scores.pth').unlink()
    with monkeypatch.context() as patch:
        patch.setattr(FisherScores, 'add', stopped(FisherScores.add))
        with pytest.raises(SystemExit):
            call('snap.py', *SNAP, '--work-dir', killed, *NEW_HEAD)
    known = torch.load(killed / 'scores.pth', weights_only=True)
    assert known['sums']['number'] == 8
    call('snap.py', *SNAP, '--work-dir', killed, *NEW_HEAD)
    assert (killed / 'pareto.json').read_bytes() == whole
    for other, name in (
        (('--released',), 'released'),
        (('--images', 16), 'data'),
    ):
        with pytest.raises(
            SystemExit, match=f'scores.pth: is of another run: .*{name}'
        ):
            call('snap.py', *SNAP, *other, '--work-dir', killed, *NEW_HEAD)
    with pytest.raises(SystemExit, match='evaluations.*; delete it, or use'):
        call('snap.py', *DEFAULT, '--work-dir', killed, *NEW_HEAD)
    wrongs = [(dict(header=3), 'header=3; must be a dict')]
    for change in (dict(order=[3]), dict(order=[], losses=[])):
        first = {**kept['generations'][0], **change}
        wrongs.append((dict(kept, generations=[first]), 'order=.* a loss of'))
    for wrong, words in wrongs:
        path.write_text(json.dumps(wrong))
        with pytest.raises(SystemExit, match=f'coefficients.json: {words}'):
            call('snap.py', *SNAP, '--work-dir', killed, *NEW_HEAD)
    assert (killed / 'pareto.json').read_bytes() == whole
    # The scores stay; the start alone is what is judged by default.
    path.unlink()
    (killed / 'pareto.json').unlink()
    (killed / 'snap.pth').unlink()
    call('snap.py', *DEFAULT, '--work-dir', killed, *NEW_HEAD)
    (only,) = json.loads(path.read_text())['generations']
    assert only['order'] == [0]


def test_other_tools_take_its_files(snapped, tmp_path, call):
    files = DIGITS, snapped / 'snap.pth'
    front = '--front', snapped / 'pareto.json'
    # A config may name the front as well.
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(DIGITS)!r}\ntest_cfg = dict(front={str(front[1])!r})'
    )
    call(
        *('test.py', config, files[1], '--budgets', '37%'),
        *('--work-dir', tmp_path, *NEW_HEAD),
    )
    (row,) = json.loads((tmp_path / 'subnets.json').read_text())['subnets']
    assert row['by'] == 'front'
    out = tmp_path / 'out'
    call(
        *('export.py', *files, *front, '--budget', '37%', '--out', out),
        *NEW_HEAD,
    )
    assert Subnet.from_file(out / 'subnet.json') == Subnet.from_dict(
        row['subnet']
    )


def test_a_router_learns_from_its_front(snapped, tmp_path, call):
    """The front was judged without labels; stage 2 judges its subnets anew."""
    options = [
        f'load_from={snapped / "snap.pth"}',
        f'model.router.front={snapped / "pareto.json"}',
        'train_cfg.max_epochs=5',
        'train_dataloader.batch_size=300',
        'model.router.fit_steps=20',
        'model.router.gated_every=15',
    ]
    stage2 = DIGITS.with_stem('vitmini_digits_stage2')
    train = 'train.py', stage2, '--work-dir', tmp_path, '--cfg-options'
    # A number of several subnets is none of one.
    wrong = 'search_cfg.metric=auc'
    with pytest.raises(SystemExit, match=r"by 'auc'; .*'accuracy/top1'\]"):
        call('train.py', '--check', *train[1:], *options, wrong)
    call(*train, *options)
    loaded = load(stage2, tmp_path / 'epoch_5.pth')
    router = loaded.model.router
    given = ParetoFront.read(snapped / 'pareto.json', router.front.space)
    measured = router.evaluated['front']
    assert {m.subnet for m in measured} == {
        m.subnet for m in (*given.members, *given.references)
    }
    front = router.front
    assert front.metric == 'accuracy/top1'
    assert all(m in measured for m in front.members)
    best = max(m.metrics['accuracy/top1'] for m in measured)
    assert max(map(front.quality, front.members)) == best
    # Of these and the router's own answers.
    known = {m.subnet: m for part in router.evaluated.values() for m in part}
    (answer,) = ask(loaded, '50%', by='front')
    member = known[Subnet.from_dict(answer['subnet'])]
    assert answer['metrics'] == member.metrics


@pytest.mark.parametrize(
    ('wrong', 'words'),
    [
        (('--images', 1), '--images=1'),
        (('--launcher', 'pytorch'), "launcher='pytorch'; must be"),
        (('--images', 2000), '--images 2000: .* data have 1197 images'),
        (('--budgets', '1%'), 'budget 1%: .* cannot be reached'),
        (('--budgets', '5ms'), 'needs a latency table'),
        (
            ('--budgets', '60%', '0.05Mparams'),
            '--budgets 0.05Mparams: .* no cut .*; the nearest one has .*,',
        ),
    ],
)
def test_wrong_options_are_named(tmp_path, call, wrong, words):
    with pytest.raises(SystemExit, match=words):
        call('snap.py', *SNAP, *wrong, '--work-dir', tmp_path, *NEW_HEAD)
    assert not list(tmp_path.glob('*.p*'))


@pytest.mark.parametrize(
    'names',
    [
        ['pareto.json'],
        ['snap.pth'],
        ['evaluations.jsonl', 'coefficients.json'],
    ],
)
def test_results_of_other_tools_are_not_written_over(tmp_path, call, names):
    for name in names:
        (tmp_path / name).write_text('mine')
    with pytest.raises(SystemExit, match=f'{names[0]} is not of this tool'):
        call('snap.py', *SNAP, '--work-dir', tmp_path, *NEW_HEAD)
    assert (tmp_path / names[0]).read_text() == 'mine'
    assert not (tmp_path / 'scores.pth').exists()


def test_no_search_runs_in_the_same_folder(tmp_path, call):
    with (
        lock(tmp_path / 'evaluations.jsonl'),
        pytest.raises(SystemExit, match='is writing there'),
    ):
        call('snap.py', *SNAP, '--work-dir', tmp_path, *NEW_HEAD)
