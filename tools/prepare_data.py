"""Fetches and checks the published data sets that the configs read."""

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f'{__doc__} Without NAME it lists them. Exit status 1 if '
        'one is missing or not whole in the end.'
    )
    parser.add_argument('names', nargs='*', metavar='NAME', help="or 'all'")
    parser.add_argument(
        '--data',
        default='data',
        metavar='DIR',
        help='folder of all data sets (default: %(default)s); an archive that '
        'lies in it, fetched by hand, is unpacked in place of a download',
    )
    parser.add_argument(
        '--check', action='store_true', help='look only, fetch nothing'
    )
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

from pathlib import Path

from eavit_mm.datasets.prepare import fault_of, prepare, tidy
from eavit_mm.datasets.published import BY_HAND, SETS
from eavit_mm.engine.cli import run_tool
from eavit_mm.options import check_choice


def make(name: str, root: Path, only_check: bool) -> int:
    """Has the parts of a set there; how many are not in the end."""
    wrong = 0
    for part in SETS[name]:
        place, fault = root / part.place, fault_of(part, root)
        if fault == 'missing' and part.url and not only_check:
            try:
                prepare(part, root)
                fault = ''
            except ValueError as error:
                fault = str(error)
        elif fault == 'missing':
            command = f'python -m eavit_mm prepare_data {name}'
            fault += f'; {BY_HAND.get(name, command)}'
        elif fault:
            anew = 'rename or delete it, and call again'
            fault += f'; {BY_HAND.get(name, anew)}'
        elif not only_check:
            tidy(part, root)
        wrong += bool(fault)
        print(f'{"wrong" if fault else "ok":5} {place}', fault, flush=True)
    return wrong


def main(args: argparse.Namespace) -> None:
    for name in args.names:
        check_choice('NAME', name, [*SETS, 'all'])
    if not args.names:
        for name, parts in SETS.items():
            places = dict.fromkeys(part.place for part in parts)
            print(f'{name:10} {", ".join(places)}')
        return
    names = [*SETS] if 'all' in args.names else args.names
    wrong = sum(make(name, Path(args.data), args.check) for name in names)
    raise SystemExit(int(wrong > 0))


if __name__ == '__main__':
    run_tool(main, args)
