from threading import Event
from typing import Any

from huey import Huey

class Consumer:
    stop_flag: Event
    def __init__(
        self,
        huey: Huey,
        workers: int = ...,
        periodic: bool = ...,
        initial_delay: float = ...,
        backoff: float = ...,
        max_delay: float = ...,
        scheduler_interval: int = ...,
        worker_type: str = ...,
        check_worker_health: bool = ...,
        shutdown_timeout: float | None = ...,
    ) -> None: ...
    def _set_signal_handlers(self) -> None: ...
    def start(self) -> None: ...
    def stop(self, graceful: bool = ...) -> None: ...
    def check_worker_health(self) -> Any: ...
