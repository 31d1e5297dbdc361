"""The functions of a notebook, against the stock inferencer."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.registry import DATASETS
from PIL import Image
from stage2 import stage2_checkpoint, stage2_config, stage2_model

from eavit_mm.apis import ask, load, predict, table
from eavit_mm.models import BudgetSolver
from eavit_mm.space import Budget, Subnet

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def files(tmp_path_factory: Any) -> tuple[Path, Path]:
    config = stage2_config(tmp_path_factory.mktemp('stage2'))
    path = config.with_name('epoch_1.pth')
    return config, stage2_checkpoint(stage2_model(config), path)


@pytest.fixture(scope='module')
def network(files: Any) -> Any:
    return load(*files)


@pytest.fixture(scope='module')
def images() -> list[np.ndarray]:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        data = DATASETS.build(
            dict(type='eavit_mm.Digits', split='test', pipeline=[])
        )
    return [data[i]['img'] for i in range(5)]


@pytest.mark.parametrize('by', ['router', 'front', 'uniform'])
def test_rows_tell_what_the_solver_answers(network: Any, by: str) -> None:
    solver = BudgetSolver(network.model)
    budgets = (0.3, '5MMACs', '0.3Mparams')
    rows = ask(network, *budgets, by=by)
    for text, row in zip(budgets, rows, strict=True):
        subnet = solver([Budget.parse(text)], by)
        assert Subnet.from_dict(row['subnet']) == subnet
        assert row['macs'] == network.model.macs(subnet)['total']
        assert row['delivered'] <= row['limit']
        assert row['used'] == row['delivered'] / row['limit']
        assert row['by'] == by
    if by == 'front':
        assert all('accuracy/top1' in row['metrics'] for row in rows)
    assert '% budget' in table(rows)
    assert network.model.backbone.subnet is None


def test_a_budget_out_of_reach_leaves_the_others(network: Any) -> None:
    first, missed, last = ask(network, '50%', '0.01%', 0.5)
    assert first['subnet'] == last['subnet']
    assert set(missed) == {'name', 'budget', 'error'}
    text = table([first, missed, last])
    assert text.endswith('\n' + missed['error'])
    assert 'budget 0.01%: ' in missed['error']
    with pytest.raises(ValueError, match='cannot be reached'):
        ask(network, '0.01%', 1e-5)
    with pytest.raises(ValueError, match="budget='half'"):
        ask(network, 0.5, 'half')


def test_a_front_is_asked_before_stage_2(
    network: Any, files: Any, tmp_path: Path
) -> None:
    """Its best network, not the uniform one, with its metrics."""
    front = network.model.router.front
    path = tmp_path / 'pareto.json'
    front.write(path)
    config = Path(files[0]).with_name('stage1.py')
    text = f"_base_ = ['{files[0]}']\nmodel = dict(router=None)\n"
    config.write_text(text)
    network = load(config, files[1])
    member = front.members[5]
    (row,) = ask(network, f'{member.macs}macs', front=path)
    assert Subnet.from_dict(row['subnet']) == member.subnet
    assert (row['by'], row['metrics']) == ('front', member.metrics)
    assert ' front ' in table([row])
    (row,) = ask(network, 0.5)
    assert row['by'] == 'uniform'
    with pytest.raises(ValueError, match="by='front'; must be one of"):
        ask(network, 0.5, by='front')


def test_measured_metrics_are_those_of_the_checkpoint(network: Any) -> None:
    router = network.model.router
    measured = [*router.evaluated['front'], *router.evaluated['router']]
    known = {m.subnet: m.metrics for m in measured}
    (row,) = ask(network, 1.0, by='front')
    assert row['metrics'] == known[Subnet.from_dict(row['subnet'])]
    (row,) = ask(network, 0.97, by='router')
    if Subnet.from_dict(row['subnet']) not in known:
        assert row['metrics'] == {}


def test_predictions_are_those_of_the_stock_inferencer(
    network: Any, files: Any, images: Any, tmp_path: Path
) -> None:
    stock = ImageClassificationInferencer(*map(str, files))
    seen = []
    for budgets in ((), (0.2,), (0.6, '0.3Mparams'), ()):
        found = predict(network, images, *budgets, batch_size=2)
        stock.model.set_budget(*budgets)
        expected = stock(images)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(
                ours['pred_scores'], theirs['pred_scores'], atol=1e-5
            )
            assert ours['pred_class'] == f'digit {ours["pred_label"]}'
        # Chosen for the call alone.
        assert network.model.backbone.subnet is None
        seen.append(np.array([r['pred_scores'] for r in found]))
    np.testing.assert_array_equal(seen[0], seen[3])
    assert np.abs(seen[0] - seen[1]).max() > 1e-3
    # A file of a grey image gives what its array gives.
    path = tmp_path / 'digit.png'
    cv2.imwrite(str(path), images[0])
    for image in (path, str(path)):
        (found,) = predict(network, image)
        np.testing.assert_allclose(found['pred_scores'], seen[0][0], atol=1e-6)


def test_a_budget_that_was_set_stays(files: Any, images: Any) -> None:
    network = load(*files)
    subnet = network.model.set_budget(0.3)
    chosen = predict(network, images)
    predict(network, images, 0.8)
    assert network.model.backbone.subnet == subnet
    np.testing.assert_array_equal(
        predict(network, images)[0]['pred_scores'], chosen[0]['pred_scores']
    )


def test_wrong_input(
    network: Any, files: Any, images: Any, tmp_path: Path
) -> None:
    config, checkpoint = files
    with pytest.raises(FileNotFoundError, match=r'no\.pth'):
        load(config, tmp_path / 'no.pth')
    with pytest.raises(FileNotFoundError, match='nothing'):
        load(tmp_path / 'nothing.py', checkpoint)
    dense = ROOT / 'configs/vit/vitmini_fashion_pretrain.py'
    with pytest.raises(ValueError, match='load needs an elastic model'):
        load(dense, checkpoint)
    other = tmp_path / 'other.py'
    other.write_text(
        f"_base_ = ['{config}']\n"
        'model = dict(backbone=dict(space=dict(max_off=1)))\n'
    )
    with pytest.raises(ValueError, match=r'epoch_1\.pth: .*another space'):
        load(other, checkpoint)
    with pytest.raises(ValueError, match='cannot be reached'):
        ask(network, 0.0001)
    with pytest.raises(ValueError, match='by='):
        predict(network, images, 0.5, by='nobody')
    with pytest.raises(ValueError, match='batch_size=0; must be an integer'):
        predict(network, [], 0.2, batch_size=0)
    for file in (
        dict(front=tmp_path),
        dict(latency_table=str(tmp_path)),
    ):
        with pytest.raises(FileNotFoundError, match='is a folder; name the'):
            ask(network, 0.5, **file)
    for name in (dict(config=tmp_path), dict(checkpoint=tmp_path)):
        with pytest.raises((FileNotFoundError, ValueError)) as error:
            load(**{**dict(config=config, checkpoint=checkpoint), **name})
        assert str(tmp_path) in str(error.value)
    with pytest.raises(FileNotFoundError, match=r'no\.png'):
        predict(network, tmp_path / 'no.png')
    with pytest.raises(ValueError, match='no budget is given'):
        ask(network)


def test_an_image_is_read_by_its_type(
    network: Any, images: Any, tmp_path: Path
) -> None:
    def scores(*several: Any) -> Any:
        return np.array([r['pred_scores'] for r in predict(network, several)])

    image = images[0]
    expected = scores(image)[0]
    cv2.imwrite(str(tmp_path / 'gray.png'), image)
    cv2.imwrite(str(tmp_path / 'deep.png'), image.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / 'bgra.png'), np.dstack([image] * 4))
    good = [tmp_path / f'{name}.png' for name in ('gray', 'deep', 'bgra')]
    good += [str(good[0]), image[..., None], image / 255]
    good += [(image / 255).astype(kind) for kind in ('f4', 'f2')]
    good += [image.astype(k) * np.uint16(257) for k in ('<u2', '>u2')]
    good += [image[::-1][::-1], np.asfortranarray(image)]
    for found in scores(*good):  # of kinds that are mixed
        np.testing.assert_allclose(found, expected, atol=1e-6)
    beyond = np.where(image > 127, 1.25, -0.25)
    clipped = scores(beyond.clip(0, 1))
    np.testing.assert_allclose(scores(beyond), clipped, atol=1e-6)
    # Dark ones too: of all bits a file gives the upper eight.
    dark = np.random.default_rng(0).integers(0, 2000, (8, 8), np.uint16)
    cv2.imwrite(str(tmp_path / 'dark.png'), dark)
    np.testing.assert_array_equal(*scores(dark, tmp_path / 'dark.png'))
    assert predict(network, []) == []


def test_what_is_no_image_is_refused(
    network: Any, images: Any, tmp_path: Path
) -> None:
    image, whole = images[0], tmp_path / 'gray.png'
    cv2.imwrite(str(whole), image)
    for name, content in (
        ('empty.png', b''),
        ('cut.png', whole.read_bytes()[:-80]),
        ('text.png', b'no image'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf'{name}. is no image'):
            predict(network, [image, tmp_path / name])
    with pytest.raises(ValueError, match='is no image that can be read'):
        predict(network, tmp_path)
    for wrong in (
        np.dstack([image] * 3),
        np.dstack([image] * 4),
        np.stack([image[..., None]] * 2),
        np.zeros((0, 0), np.uint8),
        torch.from_numpy(image),
        Image.fromarray(image),
        [image],
        image.tobytes(),
        7,
        None,
    ):
        with pytest.raises(ValueError, match=r'an array \(height, width, 1\)'):
            predict(network, [wrong])
    for wrong, words in (
        (image.astype(float), 'float64 with values of 0 to 255;'),
        (image / 16, 'float64 with values of 0 to 15.9375;'),
        (image / 127.5 - 1, 'float64 with values of -1 to 1;'),
        (np.where(image > 127, np.nan, 0), 'values of nan to nan;'),
        (np.where(image > 127, np.inf, 0), 'values of 0 to inf;'),
        (image.astype(np.int64), 'int64;'),
        (image.astype(np.uint32), 'uint32;'),
        (image.view(np.int8), 'int8;'),
        (image > 127, 'bool;'),
        (image.astype(complex), 'complex128;'),
        (image.astype(object), 'object;'),
    ):
        with pytest.raises(ValueError, match='or floats from 0 to 1') as error:
            predict(network, wrong)
        assert words in str(error.value)
