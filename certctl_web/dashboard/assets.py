"""The dashboard's static files, served from memory under names that change with their content.

The URL of a file holds a hash of its bytes, so browsers may keep it for ever and still see every change at once. Only
names found here when the process started are ever served: a request cannot reach the file system.

`vendor/` is filled when certctl is built (see hatch_build.py). Without it pages work as plain links and forms.
"""

import gzip
import hashlib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

import falcon
import structlog
from attrs import field, frozen

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HTMX: Final = "vendor/htmx.min.js"
_FOR_EVER: Final = "public, max-age=31536000, immutable"


@frozen
class Asset:
    """A file as it is sent. `packed` is its gzip form."""

    url: str
    content: bytes = field(repr=False)
    packed: bytes = field(repr=False)
    media_type: str


class Assets:
    """All static files, by their name in the package."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._by_name = {name: _asset(name, content) for name, content in files.items()}
        self.by_url = {asset.url: asset for asset in self._by_name.values()}

    @classmethod
    def packaged(cls) -> "Assets":
        """The files that came with certctl. Says so once when the front-end library is not among them."""
        assets = cls(packaged_files())
        if not assets.has(HTMX):
            structlog.get_logger(__name__).warning(
                "dashboard assets are missing: pages work, but do not refresh themselves",
                missing=HTMX,
                hint="Install certctl again with pip, which fetches them.",
            )
        return assets

    def has(self, name: str) -> bool:
        return name in self._by_name

    def url(self, name: str) -> str:
        """Where the browser finds the file called `name` here."""
        return self._by_name[name].url


class StaticFiles:
    """`/static/{name}`"""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        asset = self._assets.by_url.get(f"/static/{name}")
        if asset is None:
            raise falcon.HTTPNotFound
        resp.content_type = asset.media_type
        resp.set_header("Cache-Control", _FOR_EVER)
        resp.set_header("X-Content-Type-Options", "nosniff")
        resp.append_header("Vary", "Accept-Encoding")
        if "gzip" in (req.get_header("Accept-Encoding") or ""):
            resp.set_header("Content-Encoding", "gzip")
            resp.data = asset.packed
        else:
            resp.data = asset.content


def packaged_files() -> dict[str, bytes]:
    return dict(_walk(resources.files(__package__) / "static", ""))


def _asset(name: str, content: bytes) -> Asset:
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Asset(f"/static/{stem}.{digest}.{suffix}", content, gzip.compress(content, mtime=0), _TYPES[f".{suffix}"])


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        elif any(entry.name.endswith(suffix) for suffix in _TYPES):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found
