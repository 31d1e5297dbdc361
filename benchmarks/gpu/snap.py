"""SnapViT on ViT-B: from a pretrained network to a front of cuts."""

from dataclasses import replace

import torch

from benchmarks.gpu.run import Run
from benchmarks.gpu.timing import setting_of
from benchmarks.snap_speed import stages
from benchmarks.speed_cases import batch_of, build
from eavit_mm.analysis.latency import seconds


def snapvit(run: Run) -> None:
    """The seconds of each stage of tools/snap.py, and of all so far.

    As the tool does by default, its search takes the start.
    """
    setting, number = setting_of(run), 6 if run.quick else 1000
    network = setting.network
    space = dict(network.space, max_off=0)
    space['embed_dims'] = space['embed_dims'][-1:]
    setting = replace(setting, network=replace(network, space=space))
    model = build(True, setting).eval()
    images = batch_of(replace(setting, batch_size=number))['inputs']
    total = 0.0
    for name, stage in stages(model, images, 16, evaluations=1).items():
        spent = seconds(stage, torch.device(run.device))
        total += spent
        run.add(stage=name, images=number, seconds=spent, so_far=total)
