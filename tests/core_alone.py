"""A pytest plugin under which only NumPy, Numba, pytest and Hypothesis are installed.

    PYTHONPATH=tests python -m pytest -p core_alone

All else that tinyvq or its tests use cannot be imported, though it be there: what
`make test-core` runs under.
"""

import sys

from required import LIBRARIES, PEERS

sys.modules.update(dict.fromkeys((*LIBRARIES, *PEERS)))  # an import of None fails
