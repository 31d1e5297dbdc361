"""The functions of a notebook on segmentors of one channel and of three."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from seg_project import COLOURS, NAMES, randomised, write_config

from eavit_mm.apis import ask, load, predict, table
from eavit_mm.engine.cli import build_supernet, read_config
from eavit_mm.export import directory

torch.set_num_threads(1)
SHAPES = [(18, 24), (28, 20), (28, 20)]


@pytest.fixture(scope='module', params=[1, 3])
def files(request: Any, tmp_path_factory: Any) -> tuple[Path, Path, int]:
    """A config, a checkpoint without names of classes, and channels."""
    folder = tmp_path_factory.mktemp('seg')
    config = write_config(folder, request.param)
    torch.manual_seed(request.param)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = build_supernet(read_config(str(config)), 'a test')
    torch.save(randomised(model.state_dict()), folder / 'net.pth')
    return config, folder / 'net.pth', request.param


@pytest.fixture(scope='module')
def network(files: Any) -> Any:
    return load(*files[:2])


def images_of(channels: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [
        rng.integers(
            256, size=shape + (channels,) * (channels > 1), dtype='u1'
        )
        for shape in SHAPES
    ]


def by_hand(model: Any, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of one image of colours blue, green, red."""
    pixels = image if image.ndim == 3 else image[..., None]
    mean, std = [110.0], [20.0]
    if image.ndim == 3:
        pixels = pixels[..., ::-1]
        mean, std = [100.0, 110.0, 150.0], [20.0, 30.0, 25.0]
    x = torch.from_numpy(((pixels - mean) / std).astype('f4'))
    logits = model.inference(
        x.permute(2, 0, 1)[None], [dict(ori_shape=image.shape[:2])]
    )
    scores, labels = logits[0].softmax(0).max(0)
    return labels.numpy(), scores.numpy()


@torch.no_grad()
def test_predictions_are_those_by_hand(network: Any, files: Any) -> None:
    """Each image at its own size, in their order, whatever the batch."""
    images, model = images_of(files[2]), network.model
    for share in (1.0, 0.5):
        found = predict(network, images, share, by='uniform', batch_size=2)
        subnet = model.subnet_for(share, by='uniform')
        with model.evaluating(subnet):
            expected = [by_hand(model, image) for image in images]
        for row, (labels, scores) in zip(found, expected, strict=True):
            assert {*row} == {
                'pred_sem_seg',
                'pred_score',
                'classes',
                'palette',
            }
            np.testing.assert_array_equal(row['pred_sem_seg'], labels)
            np.testing.assert_allclose(row['pred_score'], scores, atol=1e-5)
            assert (row['classes'], row['palette']) == (NAMES, COLOURS)
    assert len({row['pred_sem_seg'].shape for row in found}) == 2
    several = [np.unique(row['pred_sem_seg']).size > 1 for row in found]
    assert any(several)
    assert model.backbone.subnet is None
    if files[2] == 3:  # mmseg draws on nothing else
        options = dict(return_vis=True, opacity=1.0, with_labels=False)
        found = network(images[0], **options)
        drawn = np.array(COLOURS)[found['predictions']]
        np.testing.assert_array_equal(found['visualization'], drawn)


def test_statistics_are_estimated_once_for_a_subnet(
    files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load(*files[:2])
    model, images = network.model, images_of(files[2])[:1]
    estimated: list[Any] = []
    real = model.calibration_data
    monkeypatch.setattr(
        model, 'calibration_data', lambda b: (estimated.append(b), real(b))[1]
    )

    def found(share: float) -> tuple[np.ndarray, int]:
        estimated.clear()
        (row,) = predict(network, images, share, by='uniform')
        return row['pred_score'], len(estimated)

    half, number = found(0.5)
    assert number > 0
    assert found(1.0)[1] == number
    again, none = found(0.5)
    assert none == 0
    np.testing.assert_array_equal(again, half)
    with torch.no_grad():
        model.decode_head.conv_seg.weight.mul_(1.1)
    assert found(0.5)[1] == number


def test_an_image_is_read_by_its_type(
    network: Any, files: Any, tmp_path: Path
) -> None:
    image = images_of(files[2])[0]
    (expected,) = predict(network, image)
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    cv2.imwrite(str(tmp_path / 'deep.png'), image.astype('u2') * 257)
    same = [tmp_path / 'image.png', str(tmp_path / 'deep.png'), image / 255]
    same += [image.astype('u2') * np.uint16(257), (image / 255).astype('f2')]
    for row in predict(network, same):
        np.testing.assert_allclose(
            row['pred_score'], expected['pred_score'], atol=1e-5
        )
    assert predict(network, []) == []
    with pytest.raises(ValueError, match=r'an array \(height, width, '):
        predict(network, np.dstack([image] * 4))
    with pytest.raises(ValueError, match='or floats from 0 to 1'):
        predict(network, image.astype(float))


def test_rows_say_what_the_parts_cost(network: Any) -> None:
    half, missed = ask(network, '50%', '1%', part='backbone')
    whole, parts = network.model.macs(), half['macs_of_parts']
    assert parts['backbone'] <= 0.5 * whole['backbone'] < parts['total']
    assert half['delivered'] == parts['backbone']
    assert 'of the backbone' in missed['error']
    text = table([half])
    assert ' backbone ' in text
    assert ' decode_head ' in text
    assert 'auxiliary_head' not in text
    with pytest.raises(ValueError, match="part='head'; this model has"):
        ask(network, 0.5, part='head')
    chosen = network.model.set_budget('50%', part='backbone')
    network.model.backbone.set_subnet(None)
    assert chosen.to_dict() == half['subnet']


def test_one_logit_tells_two_classes_that_have_no_names(
    files: Any, tmp_path: Path
) -> None:
    config, _, channels = files
    head = dict(num_classes=2, out_channels=1)
    heads = dict(decode_head=head, auxiliary_head=head)
    two = tmp_path / 'two.py'
    two.write_text(f'_base_ = [{str(config)!r}]\nmodel = {heads}\n')
    with DefaultScope.overwrite_default_scope('mmseg'):
        model: Any = build_supernet(read_config(str(two)), 'a test')
    torch.save(randomised(model.state_dict()), tmp_path / 'two.pth')
    network = load(two, tmp_path / 'two.pth')
    # What a user of ONNX must know, and mmseg's head takes.
    assert directory._input(network.model, {})['threshold'] == 0.3
    image, shares = images_of(channels)[0], np.zeros(())
    for threshold in (0.0, 0.5):  # the second at the median
        network.model.decode_head.threshold = np.quantile(shares, threshold)
        (found,) = predict(network, image)
        labels, scores = found['pred_sem_seg'], found['pred_score']
        shares = np.where(labels, scores, 1 - scores)
    assert {*found} == {'pred_sem_seg', 'pred_score'}
    np.testing.assert_array_equal(labels, shares > np.median(shares))
    assert 0 < labels.mean() < 1
