"""Whether the texts of a page stand out from what is behind them, as WCAG 2.2 (1.4.3) computes it."""

import re

from playwright.sync_api import Page

TEXTS = """() => {
    const shown = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode, e = node.parentElement, style = getComputedStyle(e);
        const visible = e.checkVisibility({ opacityProperty: true, visibilityProperty: true });
        if (!node.textContent.trim() || !visible || e.closest('.sr, button[disabled], script')) continue;
        const grounds = [];
        for (let up = e; up; up = up.parentElement) grounds.push(getComputedStyle(up).backgroundColor);
        const colour = e instanceof SVGElement ? style.fill : style.color;
        const text = node.textContent.trim().slice(0, 40);
        shown.push([text, colour, grounds, parseFloat(style.fontSize), +style.fontWeight]);
    }
    return shown;
}"""


def weak_texts(page: Page, path: str) -> list[str]:
    """Texts whose contrast is too low, with what it is."""
    weak = set()
    for text, colour, grounds, size, weight in page.evaluate(TEXTS):
        ground = (255.0, 255.0, 255.0)
        for layer in reversed(grounds):
            ground = _over(layer, ground)
        front = _over(colour, ground)
        light, dark = sorted((luminance(front), luminance(ground)), reverse=True)
        ratio = (light + 0.05) / (dark + 0.05)
        if ratio < (3 if size >= 24 or (size >= 18.66 and weight >= 700) else 4.5):
            weak.add(f"{path}: {text!r} {colour} on {ground}: {ratio:.2f}")
    return sorted(weak)


def _parts(css: str) -> list[float]:
    scale = 255 if css.startswith("color(srgb") else 1
    numbers = [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", css.removeprefix("color(srgb"))]
    return [number * scale for number in numbers[:3]] + numbers[3:4]


def colour_of(css: str) -> tuple[float, float, float]:
    red, green, blue, *_ = _parts(css)
    return red, green, blue


def _over(css: str, ground: tuple[float, float, float]) -> tuple[float, float, float]:
    """The colour as it looks before the ground, its transparency counted."""
    red, green, blue, *rest = _parts(css)
    alpha = rest[0] if rest else 1.0
    mixed = [part * alpha + below * (1 - alpha) for part, below in zip((red, green, blue), ground, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance as WCAG defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
