"""How a batch uses the codebook, and a warning where the codebook collapses."""

from tinyvq.messages import say
from tinyvq.quantizers import QuantizerStats
from tinyvq.training.measures import Measures

COLLAPSED = 0.1  # a share of codes in use below this is told to the user


def use_of_codes(stats: QuantizerStats) -> Measures:
    """Measure how a batch used the codebook."""
    return Measures(
        batch_perplexity=lambda: stats.batch_perplexity,
        batch_codes_used=lambda: stats.codes_used,
    )


class CollapseWatch:
    """Tells the user of a codebook that collapses: once, until it has recovered."""

    def __init__(self) -> None:
        self._collapsed = False

    def look(self, used: int, total: int, remedy: str, positions: int) -> None:
        """Look at how many codes of how many are in use; say what may help.

        positions  that chose a code: no more than so many can be in use
        """
        collapsed = used < COLLAPSED * min(total, positions)
        if collapsed and not self._collapsed:
            say(
                f"only {used} of {total} codes are in use: the codebook collapses. "
                f"{remedy}"
            )
        self._collapsed = collapsed
