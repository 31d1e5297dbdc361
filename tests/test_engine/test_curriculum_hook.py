"""The curriculum in a real run: which box each step draws from."""

import pytest
from mmengine.runner import Runner

from eavit_mm.space import Curriculum

from .toys import (
    WIDEST,
    build,
    config,
    evaluated,
    notes_of,
)

LEVELS = [
    dict(begin=0),
    dict(begin=1, embed_dims=8, num_heads=2),
    dict(begin=2, **WIDEST),
]


def hooks(levels=LEVELS, **options):
    return [
        dict(type='eavit_mm.CurriculumHook', levels=levels, **options),
        dict(type='Recorder'),
    ]


def test_levels_follow_the_epochs(tmp_path):
    runner = build(tmp_path, custom_hooks=hooks())
    model, drawn = runner.model, []
    draw = model.draw_subnets

    def watched(iteration):
        subnets = draw(iteration)
        drawn.extend((runner.epoch, subnet) for subnet in subnets)
        return subnets

    model.draw_subnets = watched
    runner.train()
    notes = notes_of(runner)
    assert [n['level'] for n in notes] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    space = model.backbone.space
    levels = Curriculum(space, LEVELS).levels
    for note in notes:
        assert note['box_level'] == levels[note['epoch']]
    assert levels[0].box.size() == 1
    assert levels[2].box == space
    assert levels[2].p_off == 0.5
    assert len(drawn) == 9
    for epoch, subnet in drawn:
        assert levels[epoch].box.contains(subnet)


@pytest.mark.parametrize('begins', [(2, 4), (0.3, 0.6)])
def test_levels_follow_the_iterations(tmp_path, begins):
    """Shares of six iterations are rounded to them."""
    pairs = zip(LEVELS[1:], begins, strict=True)
    levels = [{**level, 'begin': begin} for level, begin in pairs]
    runner = build(
        tmp_path,
        custom_hooks=hooks([LEVELS[0], *levels], by_epoch=False),
        train_cfg=dict(by_epoch=False, max_iters=6, val_interval=1000),
    )
    runner.train()
    assert [n['level'] for n in notes_of(runner)] == [0, 0, 1, 1, 2, 2]


def test_a_resumed_run_takes_the_level_of_its_epoch(tmp_path):
    build(tmp_path, custom_hooks=hooks()).train()
    (tmp_path / 'epoch_3.pth').unlink()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    runner = build(tmp_path, custom_hooks=hooks(), resume=True)
    runner.train()
    notes = notes_of(runner)
    assert [n['epoch'] for n in notes] == [2, 2, 2]
    assert [n['level'] for n in notes] == [2, 2, 2]
    assert notes[0]['box_level'].box == runner.model.backbone.space


def test_a_run_resumed_at_an_iteration_takes_its_level(tmp_path):
    options = dict(
        custom_hooks=hooks(
            [LEVELS[0], {**LEVELS[2], 'begin': 3}], by_epoch=False
        ),
        train_cfg=dict(by_epoch=False, max_iters=6, val_interval=1000),
        default_hooks=dict(
            logger=None,
            checkpoint=dict(type='CheckpointHook', interval=4, by_epoch=False),
        ),
    )
    build(tmp_path, **options).train()
    resumed = {**options, 'resume': True}
    resumed['load_from'] = str(tmp_path / 'iter_4.pth')
    runner = build(tmp_path, **resumed)
    runner.train()
    assert [(n['iter'], n['level']) for n in notes_of(runner)] == [
        (4, 1),
        (5, 1),
    ]


def test_the_level_stands_in_the_log(tmp_path):
    cfg = config(tmp_path, custom_hooks=hooks(), log_level='INFO')
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    runner = Runner.from_cfg(cfg)
    runner.train()
    (log,) = tmp_path.glob('*/*.log')
    text = log.read_text()
    for level in range(3):
        assert f'Curriculum level {level}: ' in text
    # One subnet, all of the MACs.
    assert 'level 0: 1 subnets from 100.0%' in text
    values = [
        float(line.split('level: ')[1].split()[0])
        for line in text.splitlines()
        if 'Epoch(train)' in line
    ]
    assert values == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_levels_beyond_the_end_are_refused(tmp_path):
    late = [*LEVELS[:2], {**LEVELS[2], 'begin': 3}]
    runner = build(tmp_path, custom_hooks=hooks(late))
    with pytest.raises(
        ValueError, match=r'levels from epoch \[3\] on, but training ends at 3'
    ):
        runner.train()
    assert not list(tmp_path.glob('*.pth'))
    late = [LEVELS[0], {**LEVELS[2], 'begin': 9}]
    runner = build(tmp_path, custom_hooks=hooks(late, by_epoch=False))
    with pytest.raises(
        ValueError, match=r'from iteration \[9\] on, but training ends at 9'
    ):
        runner.train()


def test_a_test_run_does_not_build_the_training_data(tmp_path):
    cfg = config(tmp_path, custom_hooks=hooks(), **evaluated())
    cfg.train_dataloader.dataset = dict(type='NoSuchDataset')
    assert 'auc' in Runner.from_cfg(cfg).test()
