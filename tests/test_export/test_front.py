"""A front is exported member by member, and goes on after a kill."""

import json
import os
import shutil

import pytest
from fronts import front_of

from eavit_mm.export import front as front_module
from eavit_mm.export.directory import Exporter, read_report
from eavit_mm.export.front import export_front
from eavit_mm.export.table import format_front

from .toys import ALL_OFF, SMALLEST, config, exporter, member

SUBNETS = (ALL_OFF, SMALLEST, member())  # by MACs


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def ours():
    return exporter()


def test_table_is_of_all_members(ours, tmp_path):
    front, out, notes = (
        front_of(ours.model, subnets=SUBNETS),
        tmp_path / 'out',
        [],
    )
    table = export_front(ours, front, out, notes.append)
    places = [f'{i}_{m.macs}' for i, m in enumerate(front.members, 1)]
    tables = ['table.json', 'table.png', 'table.txt']
    assert names(out) == sorted([*places, *tables])
    assert [row['name'] for row in table['networks']] == places
    assert table == json.loads((out / 'table.json').read_text())
    for row, found in zip(table['networks'], front.members, strict=True):
        report = read_report(out / row['name'])
        assert report['subnet'] == row['subnet'] == found.subnet.to_dict()
        assert (row['macs'], row['params']) == (found.macs, found.params)
        path = out / row['name'] / 'model.pth'
        assert row['bytes'] == path.stat().st_size
        assert row['latency_ms'] == report['latency_ms']['exported'] > 0
        assert row['metric'] == found.metrics['accuracy/top1']
    text = (out / 'table.txt').read_text()
    assert text == format_front(table) + '\n'
    for word in (*places, 'accuracy/top1', 'MMACs', 'ms: '):
        assert word in text
    assert (out / 'table.png').stat().st_size > 1000
    assert notes == [f'[{i}/3] {p}: written' for i, p in enumerate(places, 1)]


class Killed(BaseException):
    """As if by a signal."""


@pytest.mark.parametrize('done', [0, 2, 3])
def test_a_kill_loses_nothing(ours, tmp_path, monkeypatch, done):
    front, out = front_of(ours.model, subnets=SUBNETS), tmp_path / 'out'
    export, folders = Exporter.export, []

    def dies(self, subnet, folder):
        if len(folders) == done:
            left = out / f'.{folder.name}.00000000.partial'
            left.mkdir(parents=True)
            raise Killed
        folders.append(folder)
        return export(self, subnet, folder)

    def no_table(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Exporter, 'export', dies)
        patch.setattr(front_module, 'plot_table', no_table)
        with pytest.raises(Killed):
            export_front(ours, front, out)
    before = {p: p.stat().st_mtime_ns for p in out.glob('*/report.json')}
    assert len(before) == done
    notes: list[str] = []
    table = export_front(ours, front, out, notes.append)
    words = ['kept'] * done + ['written'] * (3 - done)
    assert [note.split()[-1] for note in notes] == words
    for path, time in before.items():
        assert path.stat().st_mtime_ns == time
    assert len(table['networks']) == 3
    assert not list(out.glob('.*'))


def harm(folder, name):
    """What a machine that lost power may leave of a file."""
    path = folder / name
    if name == 'config.py':
        path.unlink()
    elif name == 'subnet.json':
        path.write_text(path.read_text()[:-3])
    elif name == 'report.json':
        path.write_text('')
    else:
        size = path.stat().st_size // 2 if name == 'model.pth' else 0
        os.truncate(path, size)


def test_a_member_with_a_broken_file_is_written_again(tmp_path):
    ours = exporter(formats=['pt2'])
    front, out = front_of(ours.model, subnets=SUBNETS[:1]), tmp_path / 'out'
    export_front(ours, front, out)
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    whole = names(folder)
    for name in whole:
        broken = shutil.copytree(folder, tmp_path / name)
        assert ours.is_complete(SUBNETS[0], broken)
        harm(broken, name)
        assert not ours.is_complete(SUBNETS[0], broken)
    harm(folder, 'report.json')
    for done in ('written', 'kept'):
        notes: list[str] = []
        export_front(ours, front, out, notes.append)
        assert notes == [f'[1/1] {folder.name}: {done}']
        assert names(folder) == whole


def test_foreign_folders_are_refused(ours, tmp_path):
    front, out = front_of(ours.model, subnets=SUBNETS), tmp_path / 'out'
    out.mkdir()
    (out / 'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match=r'--out .*: holds notes\.txt; must'):
        export_front(ours, front, out)
    (out / 'notes.txt').unlink()
    export_front(ours, front, out)
    fewer = front_of(ours.model, subnets=SUBNETS[1:])
    with pytest.raises(ValueError, match=r'holds 1_\d+, .*of this front'):
        export_front(ours, fewer, out)
    other = exporter(source=dict(sha256='other'))
    with pytest.raises(ValueError, match=r': 1_\d+ is of another checkpoint'):
        export_front(other, front, out)


def test_a_front_of_another_model_is_refused(ours, tmp_path):
    front = front_of(ours.model, subnets=SUBNETS)
    cfg = config()
    cfg.model.head.num_classes = 8
    other = exporter(cfg)
    with pytest.raises(
        ValueError, match='another network: a member has .* in this'
    ):
        export_front(other, front, tmp_path / 'out')
    assert not names(tmp_path)


def test_metrics_are_those_after_stage_2(ours, tmp_path, monkeypatch):
    front = front_of(ours.model, subnets=SUBNETS)
    again = {
        front.members[1].subnet: {front.metric: 77.0},
        front.members[2].subnet: {'another': 1.0},
    }
    monkeypatch.setattr(
        front_module.BudgetSolver,
        'metrics_of',
        lambda solver, subnet: again.get(subnet, {}),
    )
    rows = export_front(ours, front, tmp_path / 'out')['networks']
    known = [m.metrics[front.metric] for m in front.members]
    assert [row['metric'] for row in rows] == [known[0], 77.0, *known[2:]]
