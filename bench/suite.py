"""What every benchmark is given: the fleet, made when the first one asks, and somewhere to report."""

from pathlib import Path

from attrs import define, field

from bench import fleet
from bench.fleet import Fleet
from bench.report import Figure, Report


@define
class Suite:
    """`place` is where fleets are kept."""

    place: Path
    size: int
    reports: list[Report] = field(factory=list)
    _fleet: Fleet | None = None

    def report(self, title: str) -> Report:
        report = Report(title)
        self.reports.append(report)
        report.begin()
        return report

    @property
    def fleet(self) -> Fleet:
        if self._fleet is None:
            self._fleet = fleet.seeded(self.place, self.size)
            report = self.report(f"{self._fleet.size:,} certificates")
            report.add(Figure(what="seeding", value=self._fleet.seconds, unit="s", goal=300))
        return self._fleet
