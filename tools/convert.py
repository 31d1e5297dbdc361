"""Converts weights of timm, Hugging Face and JAX to mmpretrain's names."""

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source', help='.pth, .bin, .safetensors or .npz; file or URL'
    )
    parser.add_argument('out', help='checkpoint to write')
    parser.add_argument(
        '--head',
        choices=['linear', 'vit', 'none'],
        help='names of the head: LinearClsHead, VisionTransformerClsHead, or '
        'leave it out (default: linear, if there is a head)',
    )
    parser.add_argument(
        '--prefix',
        default='backbone.',
        help="of the backbone's names (default: %(default)s)",
    )
    parser.add_argument(
        '--source-prefix',
        default='',
        help='of the names in SOURCE; chooses one of several networks',
    )
    parser.add_argument(
        '--class-position',
        choices=['yes', 'no'],
        help='whether the class token has a position; DeiT III, FlexiViT and '
        'big_vision have positions of patches alone (default: told from the '
        'file)',
    )
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

from eavit_mm.engine.checkpoint import require_other_file, save_atomically
from eavit_mm.engine.cli import run_tool
from eavit_mm.weights import (
    convert_weights,
    layout_of,
    read_weights,
)


def main(args: argparse.Namespace) -> None:
    require_other_file(args.source, args.out)
    weights = read_weights(args.source)
    says = args.class_position
    has_position = None if says is None else says == 'yes'
    start = args.source_prefix
    state = convert_weights(
        weights, args.head, args.prefix, has_position, start=start
    )
    meta = dict(source=args.source, layout=layout_of(weights, start))
    save_atomically(dict(meta=meta, state_dict=state), args.out)
    head = [name for name in state if name.startswith('head.')]
    print(
        f"{args.source}: {len(weights)} weights in {meta['layout']}'s names"
        f' -> {args.out}: {len(state)}, head: {", ".join(head) or "none"}'
    )


if __name__ == '__main__':
    run_tool(main, args)
