"""Types of the part of huey 3.5 that certctl uses."""

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from huey.consumer import Consumer
from huey.serializer import Serializer
from huey.storage import PostgresStorage

P = ParamSpec("P")
R = TypeVar("R")

class TaskWrapper(Generic[P, R]):
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...
    def call_local(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

class Huey:
    name: str
    storage: Any
    immediate: bool
    def task(
        self, retries: int = ..., retry_delay: int = ..., priority: int | None = ..., name: str | None = ...
    ) -> Callable[[Callable[P, R]], TaskWrapper[P, R]]: ...
    def on_shutdown(self, name: str | None = ...) -> Callable[[Callable[[], None]], Callable[[], None]]: ...
    def pending_count(self) -> int: ...
    def create_consumer(self, **options: Any) -> Consumer: ...

class PostgresHuey(Huey):
    storage: PostgresStorage
    def __init__(
        self,
        name: str = ...,
        *,
        results: bool = ...,
        utc: bool = ...,
        serializer: Serializer | None = ...,
        dsn: str | None = ...,
        connection: Callable[[], Any] | None = ...,
        blocking: bool = ...,
        read_timeout: float = ...,
        table_prefix: str = ...,
        create_tables: bool = ...,
        **connection_params: Any,
    ) -> None: ...
