"""What subnets cut without training are worth: SnapViT's parts, one by one.

A ViT-Ti loses heads and neurons in the order of each criterion, at the same
sparsities, with and without the affine correction. The folder that EAVIT_DATA
names (default: data) has what benchmarks.real_cls reads.
"""

import argparse
import platform
import time
from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from mmpretrain.registry import MODELS
from torch import Tensor
from torch.utils.data import ConcatDataset

from benchmarks.accuracy import add_record, config_hash, read_records
from benchmarks.methods import read_config
from benchmarks.pages import FOLDER, commit
from benchmarks.real import DATA
from eavit_mm.engine.checkpoint import load_supernet
from eavit_mm.engine.metrics import nearest
from eavit_mm.engine.optim import computes_bfloat16
from eavit_mm.rearrange import (
    ActivationCriterion,
    MagnitudeCriterion,
    RandomCriterion,
)
from eavit_mm.rearrange.criteria import Scores
from eavit_mm.snap.correct import fit
from eavit_mm.snap.cut import Cuts
from eavit_mm.snap.evolution import (
    Judge,
    evolve,
    reorder,
    start_coefficients,
    weigh,
)
from eavit_mm.snap.fidelity import Fidelity
from eavit_mm.snap.scores import embed, fisher_scores
from eavit_mm.space.cells import FFN, HEADS

RECORDS = FOLDER / 'snap.json'
CONFIG = 'configs/snapvit/vitti_photos.py'
SETS, SIZE = ('flowers89', 'dtd10'), 112
# Images: unlabelled, of these for the correction, and queries.
SCORED, CORRECTED, QUERIES = 1000, 128, 600
KNOWN = ('train', 'val')  # parts of the unlabelled images and the neighbours
EVALUATIONS, K = 50, 20
# Shares of the neurons and of the heads that fall, of the paper's table.
PAIRS = ((0.15, 0.0), (0.35, 0.2), (0.55, 0.4))
LOCAL, START, XNES, DRAWS = 'local scores', 'start', 'xNES', 'random draws'
RELEASED = 'local scores, released'
RANDOM, MAGNITUDE, ACTIVATION = 'random order', 'magnitude', 'activation'
DENSE = 'dense'
SEARCHES = (XNES, DRAWS)  # how coefficients are found
ARMS = (RANDOM, MAGNITUDE, ACTIVATION, LOCAL, START, *SEARCHES, RELEASED)


def build(folder: Path) -> Any:
    """The pretrained network."""
    cfg = read_config(CONFIG)
    cfg.model.backbone.update(img_size=SIZE, init_cfg=None)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    init_default_scope('mmpretrain')
    model = MODELS.build(cfg.model)
    load_supernet(model, str(folder / 'vit-tiny-p16_in1k_fp16.pth'))
    return model.eval()


def read_images(
    model: Any,
    name: str,
    parts: Sequence[str],
    number: int | None,
    seed: int,
    folder: Path,
) -> tuple[Tensor, Tensor]:
    """Normalised images of a set, drawn, or all of fewer; their classes."""
    cfg: Config = read_config(CONFIG).train_dataloader.dataset
    cfg.pipeline[1].scale = cfg.pipeline[2].crop_size = SIZE
    cfg.data_root = str(folder / name)
    data = ConcatDataset(
        [DATASETS.build(dict(cfg, data_prefix=part)) for part in parts]
    )
    order = np.random.default_rng(seed).permutation(len(data))[:number]
    batch = pseudo_collate([data[int(i)] for i in order])
    batch = model.data_preprocessor(batch, False)
    classes = [int(sample.gt_label) for sample in batch['data_samples']]
    return batch['inputs'], torch.tensor(classes)


def autocast() -> Any:
    """The context of bfloat16, where the CPU computes it."""
    return torch.autocast('cpu', torch.bfloat16, enabled=computes_bfloat16())


class Trial:
    """One set and one seed.

    Args:
        model: Not changed.
        images: Unlabelled (B, channels, h, w).
        bank: Images and classes that neighbours are of.
        queries: Images and classes that are asked for.
        seed: Of all that is drawn.
    """

    def __init__(
        self,
        model: Any,
        images: Tensor,
        bank: tuple[Tensor, Tensor],
        queries: tuple[Tensor, Tensor],
        seed: int,
    ) -> None:
        self.model, self.images, self.seed = model, images, seed
        self.bank, self.queries = bank, queries

    def batches(self, size: int = 16) -> Sequence[Tensor]:
        """The unlabelled images."""
        return torch.split(self.images, size)

    @cached_property
    def local(self) -> tuple[Any, Scores]:
        """The network in the order of local scores, and these."""
        vit = self.model.backbone
        return ordered(
            self.model, fisher_scores(vit, self.batches(), self.seed)
        )

    def scored(self, arm: str) -> tuple[Any, Scores]:
        """The network in the order of an arm, and its scores."""
        model, seed = self.model, self.seed
        if arm in (LOCAL, START, *SEARCHES):
            model, scores = self.local
            start = start_coefficients(model.backbone.space)
            if arm == START:
                scores = weigh(scores, start)
            elif arm in SEARCHES:
                scores = weigh(scores, self.searched(arm, start))
        elif arm == RELEASED:
            scores = fisher_scores(
                model.backbone, self.batches(), seed, released=True
            )
        elif arm == ACTIVATION:
            # What a criterion asks of a model, of images that are normalised.
            model = deepcopy(model)
            model.calibration_data = lambda images: dict(inputs=images)
            scores = ActivationCriterion().score(model, self.batches(50))
        else:
            kind = dict(magnitude=MagnitudeCriterion()).get(arm)
            scores = (kind or RandomCriterion(seed)).score(model, ())
        return ordered(model, scores)

    def searched(self, arm: str, start: np.ndarray) -> np.ndarray:
        """Coefficients; the network's units stand in the order of scores."""
        model, scores = self.local
        with autocast():
            judge = Judge(Fidelity(model.backbone, self.images), scores)
            found, _ = evolve(
                judge,
                len(self.images),
                start,
                EVALUATIONS,
                self.seed,
                at_random=arm == DRAWS,
            )
        return found

    def accuracy(self, model: Any, subnet: Any) -> float:
        """Of the nearest neighbours, by a subnet's embeddings."""
        with (
            torch.no_grad(),
            model.backbone.frozen(subnet),
            autocast(),
        ):
            bank, queries = (
                torch.cat(
                    [embed(model.backbone, x).float() for x in part.split(200)]
                )
                for part in (self.bank[0], self.queries[0])
            )
        found = nearest(bank, self.bank[1], queries, K)
        return 100 * (found == self.queries[1]).double().mean().item()

    def run(self, arm: str) -> dict[str, Any]:
        """Shares of the block MACs, and accuracies of both forms."""
        if arm == DENSE:
            return dict(kept=[1.0], cut=[self.accuracy(self.model, None)])
        model, scores = self.scored(arm)
        cuts = Cuts(model.backbone.space, scores, {})
        subnets = [cuts.at_sparsity(*pair) for pair in PAIRS]
        given = self.images[:CORRECTED].split(64)
        return dict(
            kept=[block_macs(model, s) / block_macs(model) for s in subnets],
            cut=[self.accuracy(model, s) for s in subnets],
            corrected=[
                self.accuracy(fit(model, s, given), s) for s in subnets
            ],
        )


def ordered(model: Any, scores: Scores) -> tuple[Any, Scores]:
    """A copy whose heads and neurons stand in order, and their scores."""
    kept = {k: scores[k] for k in scores if k[0] in (FFN, HEADS)}
    model = deepcopy(model)
    return model, reorder(model.backbone, kept)


def block_macs(model: Any, subnet: Any = None) -> int:
    """MACs of a subnet's blocks, without those of the patches' map."""
    vit = model.backbone
    patches = vit.patch_embed.init_out_size
    first = vit.patch_embed.projection.weight.numel() * int(np.prod(patches))
    macs = model.macs(subnet or vit.space.largest)['backbone']
    return int(macs) - first


def measure(
    name: str, seed: int, folder: Path, asked: Sequence[str] = ARMS
) -> None:
    """Measures what is not known of one set and seed, arm by arm."""
    kept = {
        key: globals()[key]
        for key in ('SIZE', 'SCORED', 'CORRECTED', 'QUERIES', 'KNOWN')
    }
    protocol = dict(kept, K=K, PAIRS=PAIRS, EVALUATIONS=EVALUATIONS)
    cfg = read_config(CONFIG)
    parts = Config(
        dict(
            backbone=cfg.model.backbone,
            data=cfg.train_dataloader,
            protocol=protocol,
        )
    )
    code = config_hash(parts, list(parts))
    known = {
        record['method']
        for record in read_records(RECORDS)
        if [record[k] for k in ('hash', 'regime', 'seed')]
        == [code, name, seed]
    }
    arms = [arm for arm in (DENSE, *asked) if arm not in known]
    if not arms:
        return
    model = build(folder)

    def images(
        parts: Sequence[str], number: int | None, drawn: int
    ) -> tuple[Tensor, Tensor]:
        return read_images(model, name, parts, number, drawn, folder)

    unlabelled, _ = images(KNOWN, SCORED, seed)
    fixed = images(KNOWN, None, 0), images(['test'], QUERIES, 0)
    trial = Trial(model, unlabelled, *fixed, seed)
    dtype = 'bfloat16' if computes_bfloat16() else 'float32'
    for arm in arms:
        began = time.process_time()
        record = dict(
            method=arm,
            regime=name,
            seed=seed,
            **trial.run(arm),
            hash=code,
            commit=commit(),
            machine=f'{platform.machine()}, one thread, no GPU, {dtype}',
            command=f'python -m benchmarks.snap --sets {name} --seeds {seed}',
        )
        add_record(record, RECORDS)
        used = time.process_time() - began
        shown = [
            round(x, 1)
            for k in ('cut', 'corrected')
            for x in record.get(k, ())
        ]
        print(f'{name}, {seed}, {arm}: {shown}, {used:.0f} s', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--sets', nargs='+', default=SETS, choices=SETS)
    parser.add_argument('--arms', nargs='+', default=ARMS, choices=ARMS)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument(
        '--report', action='store_true', help='only write the page'
    )
    args = parser.parse_args()
    if not args.report:
        if not DATA.is_dir():
            parser.error(f'no folder {DATA}: EAVIT_DATA names that of data')
        torch.set_num_threads(1)
        for seed in args.seeds:
            for name in args.sets:
                measure(name, seed, DATA, args.arms)
    # Which reads what is measured here.
    from benchmarks.snap_report import write_page

    write_page(read_records(RECORDS), FOLDER)


if __name__ == '__main__':
    main()
