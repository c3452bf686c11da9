"""A browser without a screen: keeps cookies, follows links and redirects, fills in forms."""

from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlencode, urlsplit

from attrs import define, field, frozen
from falcon import testing

from certctl_adapters.memory import MemoryStore
from certctl_core.models.access import SYSTEM, Role
from certctl_core.ports import Ports
from certctl_core.usecases import access
from certctl_web.app import Application, create_app
from certctl_web.options import Options
from tests.stand_ins import MovableClock
from tests.web.api import make_ports

FROM_HERE: Final = {"Sec-Fetch-Site": "same-origin"}
HTML: Final = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
_VOID: Final = {"br", "circle", "hr", "img", "input", "line", "link", "meta", "path", "rect"}


@define
class Form:
    method: str
    action: str
    fields: dict[str, str] = field(factory=dict)


class _Reader(HTMLParser):
    """Collects text, forms, links and every attribute; complains of tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.title = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in given.items()]
        if tag == "form":
            self.forms.append(Form(given.get("method", "get"), given.get("action", "")))
        if tag in ("input", "select") and "name" in given and self.forms and "form" in self._open:
            self.forms[-1].fields[given["name"]] = given.get("value", "")
        if tag == "a" and "href" in given:
            self.links.append((given["href"], given.get("rel", "")))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()} is out of place"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "title":
            self.title += data
        if data.strip() and not {"script", "style", "title"} & set(self._open):
            self.texts.append(" ".join(data.split()))


@frozen
class View:
    """A page as it came back."""

    status: int
    headers: Mapping[str, str]
    html: str
    path: str

    def read(self) -> _Reader:
        reader = _Reader()
        reader.feed(self.html)
        reader.close()
        assert reader._open == [], f"{self.path} leaves {reader._open} open"
        return reader

    @property
    def text(self) -> str:
        """What a person reads."""
        return " ".join(self.read().texts)

    @property
    def forms(self) -> list[Form]:
        return self.read().forms

    def form(self, action: str) -> Form:
        found = [form for form in self.forms if form.action == action]
        assert found, f"{self.path} has no form for {action}, only {[form.action for form in self.forms]}"
        return found[0]

    def link(self, rel: str) -> str:
        """The address of the link with this relation; empty when there is none."""
        return next((href for href, has in self.read().links if has == rel), "")


@define
class Browser:
    """One person's browser. `jar` holds the cookies."""

    app: Application
    ports: Ports
    clock: MovableClock
    store: MemoryStore
    jar: dict[str, str] = field(factory=dict)
    set_cookies: dict[str, testing.Cookie] = field(factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> View:
        """One request, with the cookies; keeps those that come back."""
        sent = {"Accept": HTML, **(headers or {})}
        if fields is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        where = urlsplit(path)
        result = testing.TestClient(self.app).simulate_request(
            method,
            where.path,
            query_string=where.query,
            body=urlencode(fields) if fields is not None else None,
            headers=sent,
            cookies=dict(self.jar),
            protocol="https",
        )
        self.set_cookies = dict(result.cookies)
        for name, cookie in result.cookies.items():
            if cookie.expires is not None and cookie.expires < self.clock.now():
                self.jar.pop(name, None)
            else:
                self.jar[name] = cookie.value
        return View(result.status_code, result.headers, result.text, path)

    def get(self, path: str, **headers: str) -> View:
        """A page, after its redirects."""
        view = self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return self._followed(view)

    def submit(self, form: Form, headers: Mapping[str, str] = FROM_HERE, **fields: str) -> View:
        """Send a form as it is, with some fields filled in, and follow the redirect."""
        return self._followed(self.ask(form.method.upper(), form.action, {**form.fields, **fields}, headers))

    def fetch_part(self, path: str) -> View:
        """What htmx asks for."""
        return self.ask("GET", path, headers={"HX-Request": "true"})

    def key(self, role: Role, name: str = "") -> str:
        return access.create_key(self.ports, SYSTEM, name or f"{role.value}-person", role).plain

    def sign_in(self, role: Role = Role.OPERATOR) -> View:
        form = self.get("/login").form("/login")
        view = self.submit(form, api_key=self.key(role))
        assert view.status == 200, view.text
        return view

    def _followed(self, view: View) -> View:
        for _ in range(3):
            if view.status != 303:
                return view
            view = self.ask("GET", view.headers["location"])
        return view


def open_browser(options: Options | None = None) -> Browser:
    """A browser before a fresh application over an empty store."""
    clock = MovableClock()
    store = MemoryStore()
    ports = make_ports(store.work, clock)
    return Browser(create_app(ports, options or Options(rate=None, record_calls=False)), ports, clock, store)
