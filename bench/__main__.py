"""`python -m bench [NAME ...]`: run the benchmarks and print what they reached."""

import argparse
import importlib
import tempfile
from pathlib import Path
from typing import Final

from bench import fleet, report
from bench.suite import Suite

BENCHMARKS: Final = (
    "pki",
    "crl",
    "lists",
    "statistics",
    "policies",
    "audit",
    "renewals",
    "agents",
    "creating",
    "issuing",
    "scep",
    "est",
    "import",
    "bulk",
    "ocsp",
)


def main() -> None:
    parser = argparse.ArgumentParser("bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--small", action="store_true", help=f"{fleet.SMALL:,} certificates, for a quick look")
    parser.add_argument("--size", type=int, default=fleet.SIZE, help="how many certificates (default %(default)s)")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(tempfile.gettempdir()) / "certctl-bench",
        help="where fleets are kept between runs (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    before = report.machine()
    print(", ".join(f"{name} {value}" for name, value in before.items()))
    suite = Suite(asked.data, fleet.SMALL if asked.small else asked.size)
    for name in asked.names or BENCHMARKS:
        importlib.import_module(f"bench.{name}").run(suite)
    if asked.json:
        report.write(asked.json, suite.reports, before)


if __name__ == "__main__":
    main()
