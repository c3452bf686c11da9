"""The picture of what expires when: geometry only, drawn as SVG by a template.

Horizontal places are percentages and vertical ones are pixels, so that the chart fits any width without distorting its
text, and needs neither a script nor a style attribute.
"""

import itertools
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from certctl_web.dashboard import wording
from certctl_web.dashboard.wording import Tone

HEIGHT: Final = 168
"""Pixels from the top of the scale to the base line."""

_HEADROOM: Final = 8
_LABEL_EVERY: Final = 15


@frozen
class Bar:
    """One day on which something expires. `x` and `width` are percentages."""

    day: datetime
    count: int
    tone: Tone
    x: float
    width: float
    y: float
    height: float

    @property
    def next_day(self) -> datetime:
        return self.day + timedelta(days=1)


@frozen
class Label:
    """A text at a place of an axis; `minor` ones are left out where there is little room."""

    at: float
    text: str
    anchor: str = "middle"
    minor: bool = False


@frozen
class Chart:
    bars: tuple[Bar, ...]
    scale: tuple[Label, ...]
    days: tuple[Label, ...]
    total: int
    height: int = HEIGHT


def draw(series: Sequence[tuple[datetime, int]], now: datetime) -> Chart:
    """A chart of (day, count), consecutive days."""
    top, step = _scale(max((count for _, count in series), default=0))
    slot = 100 / max(len(series), 1)

    def y(count: float) -> float:
        return round(HEIGHT - (HEIGHT - _HEADROOM) * count / top, 1)

    bars = tuple(
        Bar(
            day,
            count,
            wording.urgency(day, now),
            x=round(index * slot + slot * 0.14, 3),
            width=round(slot * 0.72, 3),
            y=y(count),
            height=round(HEIGHT - y(count), 1),
        )
        for index, (day, count) in enumerate(series)
        if count
    )
    scale = tuple(Label(y(value), f"{value:,}") for value in range(0, top + 1, step))
    days = tuple(
        Label(
            at=round(index * slot + slot / 2, 3),
            text=wording.short_day(day),
            anchor="start" if index == 0 else "middle",
            minor=index // _LABEL_EVERY % 2 == 1,
        )
        for index, (day, _) in enumerate(series)
        if index % _LABEL_EVERY == 0
    )
    return Chart(bars, scale, days, sum(count for _, count in series))


def _scale(highest: int) -> tuple[int, int]:
    """A round top for the scale, at least `highest`, and the step of its three to five lines."""
    steps = (unit * 10**power for power in itertools.count() for unit in (1, 2, 5))
    step = next(step for step in steps if highest <= 4 * step)
    return step * max(math.ceil(highest / step), 2), step
