"""What a GPU makes of it: measured in one command, part by part.

    python -m benchmarks.gpu --out DIR

runs every part of :data:`benchmarks.gpu.parts.PARTS` in a process of its own,
the most valuable first, for eight minutes at most. DIR/gpu.json holds each row
as soon as it is measured, so a run that is cut keeps what it had, and the same
command goes on with the parts that are not done; DIR/gpu.md shows it,
DIR/gpu.log is what the parts printed. It ends with 1 unless all parts are done
and all tests passed. `--publish DIR` makes the page of docs/benchmark of it.
`--device cpu --quick` runs every part small, to try the bench
itself where there is no GPU. Nothing is downloaded and no data is needed.
"""
