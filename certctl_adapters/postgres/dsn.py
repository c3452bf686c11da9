"""Where a database is and how to log in, as one value that does not print its password."""

from urllib.parse import quote

from attrs import field, frozen


@frozen
class Dsn:
    """`host` is a name, an address or the directory of a Unix socket."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """As libpq reads it. Contains the password: not for logs."""
        user, password, database, host = (
            quote(part, safe="") for part in (self.user, self.password, self.database, self.host)
        )
        return f"postgresql://{user}:{password}@/{database}?host={host}&port={self.port}"
