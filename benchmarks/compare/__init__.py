"""The comparison that textbooks assert, as runs that anyone can repeat.

    python -m benchmarks.compare              # what is not done yet, piece by piece
    python -m benchmarks.compare --quick      # all of it in a minute, to see it work

Each piece is one model on one data set from one seed: trained by the same commands that
a user types, then measured. A piece that has a result file is not done again, and one
that was stopped goes on where it was, so the whole may be spread over many evenings.

    pieces.py     which models on which images, and the command of each
    measure.py    what is measured of a trained one, on the test split
    page.py       docs/results.md, from the result files alone
"""
