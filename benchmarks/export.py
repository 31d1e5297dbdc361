"""Exports random subnets of random supernets and notes how far files differ.

Every case has options, a space, weights and a subnet of its own. What is
compared are the written files, read back, with the sliced supernet.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.export_cases import (
    random_config,
    random_model,
    random_subnet,
)
from benchmarks.pages import FOLDER, commit, publish, table
from eavit_mm.export.certificate import BATCH_SIZES
from eavit_mm.export.directory import FORMATS, Exporter
from eavit_mm.files import write_json

RECORDS = FOLDER / 'export.json'
INTRO = """# Exported networks against the supernet

Made by `make benchmark`: random subnets of random supernets, each with
options, a search space and weights of its own; of ten subnets one is the
largest, one the smallest, and one has all branches off. Each is exported, and
the files are read back and compared with the sliced supernet on random images;
the largest absolute difference of any logit counts. A case whose difference is
no rounding (above 1e-4 in float32, 1e-9 in float64, of the largest logit where
that is above 1) ends the benchmark."""


def run_case(seed: int, formats: Sequence[str]) -> dict[str, Any]:
    """Exports one subnet; its widths, options and differences."""
    cfg = random_config(seed)
    model = random_model(cfg, seed)
    subnet = random_subnet(model.backbone.space, seed)
    exporter = Exporter(model, cfg, formats=formats, rounds=1)
    with tempfile.TemporaryDirectory() as folder:
        report = exporter.export(subnet, Path(folder, 'out'))
    differences = {
        f'{name} {dtype}': value
        for name, found in report['max_difference'].items()
        for dtype, value in found.items()
    }
    return dict(
        seed=seed,
        options=options_of(cfg),
        num_off=subnet.num_off,
        macs=report['macs'],
        params=report['params'],
        differences=differences,
    )


def options_of(cfg: Any) -> list[str]:
    """What is on in a case, for the table of the page."""
    backbone = cfg.model.backbone
    swiglu = any('ffn_type' in layer for layer in backbone.layer_cfgs)
    on = dict(
        class_token=backbone.with_cls_token,
        registers=backbone.num_register_tokens,
        final_norm=backbone.final_norm,
        pre_norm=backbone.pre_norm,
        patch_norm='norm_cfg' in backbone.patch_cfg,
        overlapping_patches='padding' in backbone.patch_cfg,
        qkv_bias=backbone.qkv_bias,
        layer_scale=backbone.layer_scale_init_value,
        swiglu=swiglu,
        several_outputs=len(backbone.out_indices) > 1,
    )
    return [
        f'out_type {backbone.out_type}',
        *(name.replace('_', ' ') for name, value in on.items() if value),
    ]


def page(result: dict[str, Any]) -> str:
    """The results in Markdown."""
    rows = result['rows']
    sizes = ' and '.join(map(str, BATCH_SIZES))
    cells = []
    for name in rows[0]['differences']:
        found = sorted(row['differences'][name] for row in rows)
        middle = found[len(found) // 2]
        cells.append([name, f'{found[-1]:.1e}', f'{middle:.1e}'])
    lines = [
        INTRO,
        '',
        f'{len(rows)} cases, batch sizes {sizes}, torch {result["torch"]}, '
        f'commit {result["commit"]}.',
        '',
        table(['file', 'largest difference', 'median'], cells),
    ]
    counts = Counter(option for row in rows for option in row['options'])
    off = sum(row['num_off'] > 0 for row in rows)
    met = [f'{name} {count}' for name, count in sorted(counts.items())]
    lines += ['', f'Cases with: {", ".join(met)}, branches off {off}.']
    return '\n'.join(lines) + '\n'


def known_rows(path: Path, header: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases of a run that was killed, if it was of the same code."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    same = all(found[key] == value for key, value in header.items())
    return found['rows'] if same else []


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--num', type=int, default=200, help='cases')
    parser.add_argument(
        '--format', nargs='+', choices=FORMATS, default=list(FORMATS)
    )
    parser.add_argument(
        '--out', help='JSON file (default: docs/benchmark/export.json)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = Path(args.out or RECORDS)
    header = dict(
        torch=torch.__version__, commit=commit(), formats=args.format
    )
    rows = known_rows(out, header)[: args.num]
    for seed in range(len(rows), args.num):
        rows.append(run_case(seed, args.format))
        write_json(dict(header, rows=rows), out)
        if sys.stderr.isatty():
            print(f'\rcase {seed + 1}/{args.num}', end='', file=sys.stderr)
    publish(page(dict(header, rows=rows)), out.with_suffix('.md'))


if __name__ == '__main__':
    main()
