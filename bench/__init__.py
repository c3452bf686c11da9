"""Benchmarks: `python -m bench` runs all of them, `python -m bench lists --small` one, on a small fleet.

`fleet` makes the certificates, `server` runs the real programs over them, `report` prints what was measured beside what
is to be reached. The other modules measure; each has `figures`.
"""

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

# The demo's processes are run in the same way, by the same code.
sys.path.append(str(ROOT / "deploy"))
