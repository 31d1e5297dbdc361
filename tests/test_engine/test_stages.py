"""A stage is made once, from what is noted of it, and stops as a whole."""

import shutil
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from eavit_mm.engine import stages
from eavit_mm.engine.stages import (
    Stages,
    data_of,
    differences,
    is_new,
    run_logged,
    source_of,
)
from eavit_mm.files import process_name

from .masks import mask, put, write


def shell(text: str) -> list[str]:
    return ['sh', '-c', text]


def test_differences_are_named_by_their_place() -> None:
    there = dict(a=[1, dict(b='x')], c=None, d=3)
    assert differences(there, there) == []
    assert differences(there, dict(a=[1, dict(b='y'), 5], c=0)) == [
        "a.1.b='x' there, 'y' here",
        'a.2=None there, 5 here',
        'c=None there, 0 here',
        'd=3 there, None here',
    ]


def test_a_stage_is_made_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'first'
    result = folder / 'one' / 'result'

    def make(source: dict[str, Any], text: str) -> str:
        begun = Stages(folder)  # as another process would
        return begun.make('one', source, result.is_file, shell(text))

    warn = 'echo "1 - mmengine - WARNING - old"; '
    ok = f'{warn}{warn} mkdir -p {result.parent}; echo x >> {result}'
    assert make(dict(a=1), ok).endswith(' s')
    assert capsys.readouterr().out == 'one: old\n'
    assert make(dict(a=1), ok) == 'done before'
    with pytest.raises(ValueError, match=r'/one was .*: a=1 there, 2 here; g'):
        Stages(folder).check('one', dict(a=2))
    # What is not known yet is not compared; what was not begun neither.
    Stages(folder).check('one', {})
    Stages(folder).check('two', dict(a=2))
    # Wherever the folder is, but not without its results.
    folder = folder.rename(tmp_path / 'moved')
    result = folder / 'one' / 'result'
    assert make(dict(a=1), ok) == 'done before'
    assert result.read_text() == 'x\n'
    result.rename(folder / 'one' / 'other')
    fails = 'echo "error: no disk"; echo more; exit 3'
    with pytest.raises(ValueError, match=r'^one: no disk; its log is .*log$'):
        make(dict(a=1), fails)
    with pytest.raises(ValueError, match='^one: status 4; its log is'):
        make(dict(a=1), 'exit 4')
    (folder / 'one' / 'other').rename(result)
    assert make(dict(a=1), ok).endswith(' s')
    assert make(dict(a=2), ok).endswith(' s')
    # Of an earlier version, which noted nothing.
    (folder / 'stages.json').unlink()
    with pytest.raises(ValueError, match='a=None there, 1 here'):
        Stages(folder).check('one', dict(a=1))
    (folder / 'stages.json').write_text('{')
    with pytest.raises(ValueError, match='stages.json: no JSON'):
        Stages(folder)


def config(folder: Path, **changes: Any) -> Config:
    def loader(part: str) -> dict[str, Any]:
        images = dict(type='mmpretrain.CustomDataset', pipeline=[])
        images['data_prefix'] = str(folder / 'images' / part)
        return dict(batch_size=4, num_workers=2, dataset=images)

    cfg = dict(
        model=dict(init_cfg=dict(checkpoint=str(folder / 'vit.pth'))),
        train_dataloader=loader('train'),
        val_dataloader=loader('val'),
        test_dataloader=loader('test'),
        work_dir=str(folder),
    )
    cfg.update(changes)
    return Config(cfg)


def source(folder: Path, **changes: Any) -> dict[str, Any]:
    cfg = config(folder, **changes)
    return source_of(
        cfg, data_of(cfg), 'test', first=str(folder / 'first.pth')
    )


@pytest.mark.parametrize('text', ['[1]', '3', '{"one": 3}', '{"one": {}}'])
def test_a_note_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / 'stages.json').write_text(text)
    with pytest.raises(ValueError, match=r'stages.json: .*; must be a dict'):
        Stages(tmp_path)


def test_a_mask_counts_to_its_first_byte(tmp_path: Path) -> None:
    write(tmp_path, (40, 40), train=3, val=1)
    for path in tmp_path.glob('annotations/*/*.png'):
        put(path.with_suffix('.bmp'), mask((40, 40)))
        path.unlink()
    images = dict(type='eavit_mm.MaskFolder', data_prefix=str(tmp_path))
    cfg = Config(dict(train_dataloader=dict(dataset=images)))
    before = data_of(cfg)
    assert data_of(cfg) == before
    pixels = mask((40, 40))
    pixels[-1] = 1  # which the format has first
    put(tmp_path / 'annotations/train/1.bmp', pixels)
    assert data_of(cfg)['train']['digest'] != before['train']['digest']


def test_files_and_images_count_by_their_content(tmp_path: Path) -> None:
    folder = tmp_path / 'a' / 'b'
    for part in ('train', 'val', 'test'):
        for name in ('a/0.png', 'a/1.png', 'b/0.png', 'c/0.png'):
            path = folder / 'images' / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{part} {name}')
    for name in ('vit.pth', 'first.pth'):
        (folder / name).write_text(name)
    here = source(folder)
    moved = shutil.copytree(folder, tmp_path / 'moved')
    loader = dict(config(moved).train_dataloader, num_workers=0)
    assert source(moved, train_dataloader=loader, log_level=1) == here
    one, other = (
        source_of(Config(dict(data_prefix=str(path))), {})
        for path in (moved / 'images', folder / 'images' / 'train')
    )
    assert one == other  # a folder may have another name
    image = moved / 'images' / 'train' / 'b' / '0.png'
    content = image.read_bytes()
    for change, words in (
        (lambda: image.write_bytes(content[:-1] + b'x'), 'data.train.digest'),
        (
            lambda: image.parent.rename(image.parent.with_name('d')),
            "data.train.classes.1='b' there, 'c' here",
        ),
        (
            lambda: (image.parents[1] / 'a' / '0.png').unlink(),
            'data.train.samples=4 there, 3 here',
        ),
        (lambda: (moved / 'vit.pth').write_text('x'), 'config.model.init_cfg'),
        (lambda: (moved / 'first.pth').unlink(), "first='first.pth ("),
    ):
        change()
        there, here = here, source(moved)
        found = differences(there, here)
        assert any(words in text for text in found), found
    # The stage reads no test data.
    (moved / 'images' / 'test' / 'a' / '0.png').unlink()
    assert source(moved) == here
    shutil.rmtree(moved / 'images' / 'test')
    (moved / 'images' / 'test').symlink_to(moved / 'images' / 'train')
    with pytest.raises(
        ValueError, match='test data and the train data share . sampl'
    ):
        source(moved)


def test_a_stopped_stage_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / 'pids'
    sleep = time.sleep

    def stop(seconds: float) -> None:
        if place.exists() and len(place.read_text().split()) == 2:
            monkeypatch.setattr(time, 'sleep', sleep)
            raise KeyboardInterrupt
        sleep(0.01)

    monkeypatch.setattr(time, 'sleep', stop)
    # The second takes no notice of a polite request.
    code = (
        'import os, signal, time\n'
        'if not os.fork(): signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        f'open({str(place)!r}, "a").write(f"{{os.getpid()}} ")\n'
        'time.sleep(60)\n'
    )
    monkeypatch.setattr(stages, '_PATIENCE', 1)
    with pytest.raises(KeyboardInterrupt):
        run_logged([sys.executable, '-c', code], tmp_path / 'log', 'one')
    sleep(0.2)
    # Nor is one that nobody has asked how it ended.
    assert not any(map(process_name, map(int, place.read_text().split())))


def test_what_several_stages_warn_of_is_said_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stages, '_WARNINGS', set())
    assert is_new('left out')  # by this process, before its stages
    for label, texts in dict(
        one=('left out', 'slow', 'slow'), two=('slow', 'other')
    ).items():
        code = f"for k in {texts}: print('now - WARNING -', k)"
        run_logged([sys.executable, '-c', code], tmp_path / 'log', label)
    assert capsys.readouterr().out == 'one: slow\ntwo: other\n'


def test_a_stage_ends_with_a_killed_parent(tmp_path: Path) -> None:
    place = tmp_path / 'pid'
    code = (
        'import os, time\n'
        f'open({str(place)!r}, "w").write(f"{{os.getpid()}} ")\n'
        'time.sleep(60)\n'
    )
    command = [sys.executable, '-c', code]
    parent = get_context('fork').Process(
        target=run_logged, args=(command, tmp_path / 'log', 'one')
    )
    parent.start()
    while not place.exists() or not place.read_text().endswith(' '):
        assert parent.is_alive()
        time.sleep(0.01)
    parent.kill()
    parent.join()
    time.sleep(0.2)
    assert not process_name(int(place.read_text()))
