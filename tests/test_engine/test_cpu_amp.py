"""Mixed precision on the CPU."""

import torch

from .toys import build


def test_the_forward_is_bfloat16_and_the_weights_are_not(tmp_path):
    runner = build(
        tmp_path,
        optim_wrapper=dict(
            type='eavit_mm.CpuAmpOptimWrapper',
            optimizer=dict(type='SGD', lr=0.05),
        ),
    )
    kinds = set()
    runner.model.head.fc.register_forward_hook(
        lambda module, inputs, output: kinds.add(output.dtype)
    )
    before = runner.model.head.fc.weight.detach().clone()
    runner.train()
    assert kinds == {torch.bfloat16}
    after = runner.model.head.fc.weight
    assert after.dtype == torch.float32
    assert after.isfinite().all()
    assert not torch.equal(after, before)
