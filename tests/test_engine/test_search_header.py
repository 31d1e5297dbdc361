"""What a search notes about what its evaluations depend on."""

import functools
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement, PixelData
from mmpretrain.evaluation import Accuracy

from eavit_mm.engine.search_header import (
    digest,
    digest_of_data,
    plain,
    plain_evaluator,
)


def test_a_digest_takes_buffers_without_dimensions():
    norm = torch.nn.BatchNorm2d(3)  # it counts batches
    before = digest(norm.state_dict())
    norm.num_batches_tracked += 1
    assert digest(norm.state_dict()) != before


def model(mean=0.0):
    preprocessor = torch.nn.Module()
    preprocessor.register_buffer('mean', torch.tensor(mean), persistent=False)
    return SimpleNamespace(data_preprocessor=preprocessor)


def batch(image=0, label=1, path='a.png', dtype=torch.uint8, as_list=False):
    images = torch.full((2, 3, 4), image, dtype=dtype)
    sample = BaseDataElement(metainfo=dict(img_path=path))
    sample.gt_label = torch.tensor([label])
    sample.gt_sem_seg = PixelData(data=np.zeros((3, 4)))
    inputs = list(images) if as_list else images
    return dict(inputs=inputs, data_samples=[sample])


def test_a_digest_of_data_knows_images_and_labels():
    first = digest_of_data(model(), [batch(), batch(3)])
    assert digest_of_data(model(), [batch(), batch(3)]) == first
    # The same data from another folder.
    assert digest_of_data(model(), [batch(path='b'), batch(3)]) == first
    segmented = batch()
    segmented['data_samples'][0].gt_sem_seg.data[0, 2, 3] = 1
    others = [
        digest_of_data(model(), batches)
        for batches in (
            [batch(3), batch()],
            [batch()],
            [batch(), batch(3, label=2)],
            [batch(), batch(4)],
            [batch(), batch(3, dtype=torch.int8)],
            [batch(), batch(3, as_list=True)],
            [segmented, batch(3)],
        )
    ]
    others.append(digest_of_data(model(0.1), [batch(), batch(3)]))
    assert len({first, *others}) == 9


def test_plain_values_of_a_config():
    values = dict(
        topk=(1, 5),
        items=OrderedDict(a={'y', 'x'}),
        kind=Accuracy,
        array=np.arange(2),
        number=np.float32(0.5),
        call=functools.partial(int, base=2),
    )
    assert plain(values) == dict(
        topk=[1, 5],
        items=dict(a=['x', 'y']),
        kind='mmpretrain.evaluation.metrics.single_label.Accuracy',
        array=[0, 1],
        number=0.5,
        call='functools.partial',
    )


@pytest.mark.parametrize('metrics', [dict(type='A', topk=(1,)), [dict(a=1)]])
def test_the_config_of_an_evaluator(metrics):
    assert plain_evaluator(metrics) == plain(metrics)


def test_an_evaluator_that_was_built():
    (name,) = plain_evaluator(Evaluator(Accuracy()))
    assert name.endswith('.Accuracy')
