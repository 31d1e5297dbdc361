"""The page and the figure of subnets that were cut without training."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import snap
from benchmarks.pages import (
    commits,
    mean_and_spread,
    publish,
    spread_text,
    table,
)
from benchmarks.snap import (
    ACTIVATION,
    DENSE,
    DRAWS,
    LOCAL,
    MAGNITUDE,
    PAIRS,
    RANDOM,
    RELEASED,
    START,
    XNES,
)
from eavit_mm.analysis.plots import STYLES, save_figure

FORMS = CUT, CORRECTED = 'cut', 'corrected'
COMPARED = (
    *((START, o) for o in (RANDOM, MAGNITUDE, ACTIVATION, LOCAL, RELEASED)),
    (LOCAL, RELEASED),
    *((other, START) for other in (XNES, DRAWS)),
    (XNES, DRAWS),
)
# Curves of the figure.
SHOWN = (
    *((arm, CUT) for arm in (START, LOCAL, ACTIVATION, MAGNITUDE, RANDOM)),
    *((arm, CORRECTED) for arm in (START, RANDOM)),
    *((arm, CUT) for arm in (XNES, DRAWS)),
)
# Accuracies in SnapViT's table (ImageNet-1k, k = 20): dense, then at PAIRS.
PUBLISHED = {
    'DINO-B': (74.86, 74.83, 71.56, 56.56),
    'DINOv3-B': (82.16, 78.06, 36.79, 16.55),
    'SigLIP2-B': (80.17, 75.56, 24.41, 7.76),
    'AugReg-B': (77.95, 77.17, 58.93, 22.22),
    'DeiT-B, distilled': (81.68, 81.48, 76.06, 58.90),
    'DeiT-III B': (85.24, 84.83, 76.68, 49.92),
    'DeiT-III H': (86.61, 86.58, 85.22, 78.36),
}
_CUTS = '; '.join(f'{f:.0%} of the neurons and {h:.0%}' for f, h in PAIRS)
INTRO = f"""# Subnets cut without training

Made by `python -m benchmarks.snap` from [snap.json](snap.json), which has the
command, seed and commit of every run. A ViT-Ti/16 of ImageNet-1k sees
{snap.SIZE} px; nothing is trained. Every arm puts the neurons of all layers
into one order and the heads into one, and the same shares of them fall
([how](../snapvit.md)): {_CUTS} of the heads. Accuracy in per cent of the
{snap.K} nearest neighbours of {snap.QUERIES:,} test images (of dtd10's 400
all) among the images of training and validation (flowers89 1,780, dtd10
800). Embeddings are in float32; of dtd10's seed 0, but for random draws and
the scores as released, in bfloat16. The seed draws {snap.SCORED:,} of these
(of dtd10 all) without their labels, for scores and coefficients
({snap.EVALUATIONS} candidates, the start among them), crops, candidates and
the random order; the first {snap.CORRECTED} images are those of the
[correction](../export.md#correction). Mean and standard deviation over seeds,
in brackets the share of the dense accuracy. Columns are shares of the
blocks' MACs that are kept."""
PUBLISHED_INTRO = """SnapViT's own accuracies of 20 neighbours on ImageNet-1k
at the same sparsities, without a correction, as shares of its dense ones:

"""
FINDINGS = """The standard error is 2.2 points on dtd10 and 1.9 on flowers89;
seeds share their test images, and some arms nearly all else.

- At half of the blocks' MACs cuts by the local scores keep 94 and 82% of the
  dense accuracy, by activation 77 and 64%, at random 67 and 45%, by magnitude
  61 and 45%. At 71% they lose nothing, activation a fifth. At 90%
  activation loses nothing either.
- The coefficients: the start is as good as local scores alone, and what 50
  candidates found is not better than the start, neither by xNES (at half of
  the MACs worse in the mean, by 2 and 4 points) nor by chance (on flowers89
  two of three seeds drew nothing of lower loss than the start). So
  `tools/snap.py` takes the start.
- The correction gives back what was lost where much was: to the start's cuts
  2 and 9 points at half of the MACs, to activation 12 and 10. From cuts that
  lose nothing it takes up to 3.6, so it is not above at every point. More
  images change that little (flowers89, activation, one seed: 66.3 at 71% by
  128 images, 65.0 by 1,000).
- Scores as released (the gradient of all images is squared, and these share
  their crops) order units worse than ours: 3.8 points in the mean.
- A correction whose target is the whole network's stream, in place of what
  each branch lost, was tried on flowers89, one seed: in the order of
  activation 66.0, 65.8 and 64.2 in place of 67.3, 66.3 and 54.2, in that of
  the start 62.2, 62.8 and 62.5 in place of 66.3, 64.7 and 63.5. A stronger
  ridge (0.3 of the mean variance, not 0.01), with images of the validation
  part as queries, gave 58.7, 59.3 and 56.7 in place of 56.7, 57.3 and 54.0
  (start; cut 60.7, 58.0 and 48.8), on dtd10 67.0, 68.2 and 67.8 in place of
  67.8, 67.5 and 66.2, and nothing in the order of activation. Tokens of the
  class that weigh 8, 49 or 400 times as much as those of a patch gained
  nothing either (one seed, queries of the validation part): activation 56.0,
  55.0 and 52.8 at 71% on flowers89 in place of 55.8, 67.8, 68.0 and 67.5 on
  dtd10 in place of 67.8.
- Of the 32 cuts above that are better than the whole network, 30 are worse
  when corrected, by 1.7 points in the mean of all: the correction aims at that
  network.
- The network's own head: no images of ImageNet-1k are at hand.
- At 64 px, an earlier run, the whole network was poor (28.7% on flowers89)
  and cuts raised its accuracy: that size shows nothing of what a cut loses."""

Records = Sequence[Mapping[str, Any]]
# Seed, form and cut to accuracy; of the dense network cut alone.
Values = dict[tuple[int, str, int], float]


def values_of(records: Records, name: str, arm: str) -> Values:
    """What was measured of an arm on a set, whose dense network is known."""
    seeds = {r['seed'] for r in records if _is_of(r, name, DENSE)}
    return {
        (record['seed'], form, i): value
        for record in records
        if _is_of(record, name, arm) and record['seed'] in seeds
        for form in FORMS
        for i, value in enumerate(record.get(form, ()))
    }


def _is_of(record: Mapping[str, Any], name: str, arm: str) -> bool:
    return bool((record['regime'], record['method']) == (name, arm))


def columns() -> Iterator[tuple[str, int]]:
    """Form and cut of each column."""
    yield from ((form, i) for i in range(len(PAIRS)) for form in FORMS)


def kept(records: Records) -> list[float]:
    """Share of the blocks' MACs at each cut; arms differ by rounding."""
    found = [r['kept'] for r in records if r['method'] != DENSE]
    return [float(share) for share in np.mean(found, axis=0)]


def accuracy_table(records: Records, name: str) -> str:
    """Every arm at every cut of one set."""
    shares = kept(records)
    whole = dense_of(records, name)
    rows = []
    for arm in snap.ARMS:
        values = values_of(records, name, arm)
        if seeds := sorted({seed for seed, *_ in values}):
            cells = []
            for form, i in columns():
                found = [values[seed, form, i] for seed in seeds]
                share = f' ({np.mean(found) / whole:.0%})'
                cells.append(spread_text(found, 1) + share)
            rows.append([f'{arm} ({len(seeds)})', *cells])
    header = [f'{form}, {shares[i]:.0%}' for form, i in columns()]
    return table([f'{name}, dense: {whole:.1f} (seeds)', *header], rows)


def published_table() -> str:
    """What SnapViT's networks keep at the same sparsities."""
    rows = [
        [network, *(f'{100 * value / dense:.1f}' for value in found)]
        for network, (dense, *found) in PUBLISHED.items()
    ]
    pairs = [f'{f:.0%} of neurons, {h:.0%} of heads' for f, h in PAIRS]
    return table(['published, % of the dense accuracy', *pairs], rows)


def verdict(differences: Sequence[Sequence[float]]) -> list[str]:
    """Mean over all points, and at how many it is beyond the spread.

    Args:
        differences: Of each point those of each seed.
    """
    overall = [float(np.mean(seed)) for seed in zip(*differences, strict=True)]
    points = [mean_and_spread(each) for each in differences]
    above = sum(mean > spread for mean, spread in points)
    below = sum(-mean > spread for mean, spread in points)
    return [
        spread_text(overall, 1),
        f'{above} of {len(points)}',
        f'{below} of {len(points)}',
    ]


def comparison_table(records: Records) -> str:
    """One arm less another, and corrected less cut."""
    names = sorted({record['regime'] for record in records})
    rows = []
    pairs = [((a, form), (b, form)) for a, b in COMPARED for form in FORMS]
    pairs += [((a, CORRECTED), (a, CUT)) for a in snap.ARMS]
    for (own, form), (other, theirs) in pairs:
        differences = []
        for name in names:
            ours = values_of(records, name, own)
            others = values_of(records, name, other)
            seeds = sorted({k[0] for k in ours} & {k[0] for k in others})
            for i in range(len(PAIRS) if len(seeds) > 1 else 0):
                differences.append(
                    [
                        ours[seed, form, i] - others[seed, theirs, i]
                        for seed in seeds
                    ]
                )
        if differences:
            fewest = min(map(len, differences))
            label = f'{own} less {other}, {form}'
            if own == other:
                label = f'{own}: corrected less cut'
            same = [each[:fewest] for each in differences]
            rows.append([label, *verdict(same)])
    header = ['', 'points', 'above by more than the spread', 'below']
    return table(header, rows) if rows else ''


def dense_of(records: Records, name: str) -> float:
    """Accuracy of the whole network on a set, in per cent."""
    return next(iter(values_of(records, name, DENSE).values()))


def curve_of(
    records: Records, name: str, arm: str, form: str
) -> list[tuple[float, float]]:
    """Share of the dense accuracy in per cent at each cut, and its spread."""
    whole, values = dense_of(records, name), values_of(records, name, arm)
    seeds = sorted({seed for seed, *_ in values})
    return [
        mean_and_spread([100 * values[s, form, i] / whole for s in seeds])
        for i in range(len(PAIRS) if seeds else 0)
    ]


def draw(records: Records, path: Path) -> None:
    """Shares of the dense accuracy over the MACs kept.

    A panel for each set, and one of what the paper found.
    """
    names = sorted({record['regime'] for record in records})
    figure = Figure(figsize=(10.6, 9.6), layout='constrained')
    panels = list(figure.subplots(2, 2, sharey=True).flat)
    x = [100.0, *(100 * share for share in kept(records))]
    for axes, name in zip(panels, names, strict=False):
        axes.set_title(f'{name}, k = {snap.K}', fontsize=15)
        for (arm, form), style in zip(SHOWN, STYLES, strict=False):
            if points := curve_of(records, name, arm, form):
                y, spread = zip((100.0, 0.0), *points, strict=True)
                label = arm if form == CUT else f'{arm}, corrected'
                axes.errorbar(x, y, spread, label=label, capsize=3, **style)
    published, aside = panels[2:]
    published.set_title('published, ImageNet-1k, cut', fontsize=15)
    for entry, style in zip(PUBLISHED.items(), STYLES, strict=False):
        network, (whole, *found) = entry
        y = [100.0, *(100 * value / whole for value in found)]
        published.plot(x, y, label=network, **style)
    for axes in panels[:3]:
        axes.set_xlabel('MACs of the blocks kept (%)', fontsize=14)
        axes.set_ylim(0, 108)
        axes.tick_params(labelsize=13)
        axes.grid(alpha=0.3)
    for axes in (panels[0], published):
        axes.set_ylabel('of the dense accuracy (%)', fontsize=14)
    aside.axis('off')
    for axes, place, title in (
        (panels[0], 'upper left', 'measured here'),
        (published, 'upper right', 'published'),
    ):
        handles, labels = axes.get_legend_handles_labels()
        legend = aside.legend(
            handles, labels, loc=place, title=title, fontsize=12
        )
        aside.add_artist(legend)
    save_figure(figure, path)


def write_page(records: Records, folder: Path) -> Path:
    """Writes snap.md and its figure into a folder."""
    parts = [INTRO]
    if records := [r for r in records if r['regime'] in snap.SETS]:
        names = sorted({record['regime'] for record in records})
        draw(records, folder / 'snap.png')
        parts += [
            '![shares of the dense accuracy over MACs](snap.png)',
            *(accuracy_table(records, name) for name in names),
            comparison_table(records),
            PUBLISHED_INTRO + published_table(),
            FINDINGS,
            f'Commits: {commits(records)}.',
        ]
    return publish('\n\n'.join(filter(None, parts)), folder / 'snap.md')
