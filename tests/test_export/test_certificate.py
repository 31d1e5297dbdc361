"""The certificate finds what is not the subnet."""

from functools import partial

import pytest
import torch

from eavit_mm.analysis.latency import image_size
from eavit_mm.export import certificate
from eavit_mm.export.certificate import (
    certify,
    check_size,
    latencies,
)
from eavit_mm.export.dense import dense_network

from .toys import config, member, supernet


@pytest.fixture
def pair():
    cfg = config()
    model = supernet(cfg)
    return model, dense_network(model, cfg.model, member())


def test_an_equal_network_passes(pair):
    model, dense = pair
    seen = []

    def network(x):
        seen.append(len(x))
        return dense(x)

    given = torch.ones(9, 3, 8, 12)
    found = certify(model, member(), dict(a=network, b=dense), given)
    assert set(found) == {'a', 'b'}
    assert 0 <= found['a'] < 1e-5
    assert seen == [1, 7, *[1] * 9, 7, 2]
    assert model.backbone.subnet is None
    double = certify(model.double(), member(), dict(a=dense.double()))
    assert double['a'] < 1e-12


def test_what_else_is_found(pair):
    model, dense = pair
    with pytest.raises(ValueError, match=r'new is not the subnet'):
        certify(model, member(8), dict(new=dense))
    with pytest.raises(ValueError, match='differ by nan'):
        certify(model, member(), dict(new=lambda x: dense(x) * torch.nan))
    # What differs on given images only.
    odd = dict(new=lambda x: dense(x) + (x == 3).all())
    certify(model, member(), odd)
    with pytest.raises(ValueError, match='new is not the subnet'):
        certify(model, member(), odd, torch.full((2, 3, 8, 12), 3.0))


def test_sizes(tmp_path):
    path, network = tmp_path / 'model.pth', torch.nn.Linear(99, 100)
    path.write_bytes(b'x' * (4 * 10_000 + 800 + 65_536))
    check_size(path, network, 10_000)
    with pytest.raises(ValueError, match='has 10,000 .*the subnet 10,001'):
        check_size(path, network, 10_001)
    path.write_bytes(b'x' * (4 * 10_000 + 801 + 65_536))
    with pytest.raises(ValueError, match=r'106,337 bytes; 10,000 parameters'):
        check_size(path, network, 10_000)


def test_latencies_are_of_three_networks(pair, monkeypatch):
    model, dense = pair
    ran = []

    def measured(cases, device, rounds):
        for around, run in cases:
            with torch.no_grad(), around():
                ran.append(run())
        return [3.0, 2.0, 1.0, 0.5][: len(cases)]

    monkeypatch.setattr(certificate, 'measure_in_turn', measured)
    cpu = torch.device('cpu')
    options = dict(batch_size=2, rounds=4, graphs=dict(onnx=dense))
    found = latencies(model, member(), dense, cpu, **options)
    names = ('largest', 'subnet', 'exported', 'onnx')
    assert [found[name] for name in names] == [3, 2, 1, 0.5]
    assert (found['batch_size'], found['rounds']) == (2, 4)
    zeros = torch.zeros(2, *image_size(model))
    with torch.no_grad():
        largest, exported = model(zeros), dense(zeros)
    torch.testing.assert_close(ran, [largest, *[exported] * 3])
    monkeypatch.undo()
    measure = partial(latencies, model, member(), dense, cpu)
    assert all(measure(rounds=1)[k] > 0 for k in ('largest', 'exported'))
