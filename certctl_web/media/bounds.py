"""What values must be beyond their types. The reader checks these and the OpenAPI document tells them."""

import re
from typing import Annotated, Any, Final, Protocol, runtime_checkable

from attrs import frozen

from certctl_core.ids import CLIENT_ID


class Described(Protocol):
    def schema(self) -> dict[str, Any]:
        """JSON Schema keywords."""


@runtime_checkable
class Bound(Described, Protocol):
    def problem(self, value: Any) -> str:
        """What is wrong with the value; empty when nothing is."""


@frozen
class Length(Bound):
    """Of a text, in characters."""

    least: int = 0
    most: int = 1 << 20

    def problem(self, value: Any) -> str:
        if self.least <= len(value) <= self.most:
            return ""
        return f"must have {self.least} to {self.most} characters, not {len(value)}" if value else "must not be empty"

    def schema(self) -> dict[str, Any]:
        return {"minLength": self.least, "maxLength": self.most}


@frozen
class Count(Bound):
    """Of the members of a list."""

    least: int
    most: int

    def problem(self, value: Any) -> str:
        if self.least <= len(value) <= self.most:
            return ""
        return f"must have {self.least} to {self.most} members, not {len(value)}"

    def schema(self) -> dict[str, Any]:
        return {"minItems": self.least, "maxItems": self.most}


@frozen
class Range(Bound):
    """Of a number, both ends included."""

    least: int
    most: int

    def problem(self, value: Any) -> str:
        return "" if self.least <= value <= self.most else f"must be between {self.least} and {self.most}"

    def schema(self) -> dict[str, Any]:
        return {"minimum": self.least, "maximum": self.most}


@frozen
class Matching(Bound):
    """A text that matches a pattern as a whole; `words` say which one."""

    pattern: re.Pattern[str]
    words: str

    def problem(self, value: Any) -> str:
        return "" if self.pattern.fullmatch(value) else f"must be {self.words}"

    def schema(self) -> dict[str, Any]:
        return {"pattern": f"^{self.pattern.pattern}$", "description": f"{self.words[0].upper()}{self.words[1:]}."}


@frozen
class Fallback(Described):
    """A whole number that is replaced by `default` when it is out of bounds or no number, as the contract wants."""

    default: int
    least: int
    most: int

    def read(self, value: Any) -> int:
        text = str(value).strip()
        number = int(text) if re.fullmatch(r"[+-]?[0-9]{1,15}", text) else self.default
        return number if self.least <= number <= self.most else self.default

    def schema(self) -> dict[str, Any]:
        whole = {"type": "integer"}
        return {"anyOf": [whole, {}], "description": f"{self.least} to {self.most}; else it is {self.default}."}


PLAIN: Final = Matching(re.compile(r"[^\x00-\x1f\x7f-\x9f]*"), "without control characters")
"""For what is shown in lists and on terminals, which obey such characters."""

Name = Annotated[str, Length(1, 255), PLAIN]
Identity = Annotated[str, Matching(CLIENT_ID, "1 to 128 letters, digits, dots, dashes or underscores")]
Reference = Annotated[str, Length(0, 128)]
"""The id of something else; whether there is such a thing is for the store to say."""

Word = Annotated[str, Length(0, 255), PLAIN]
Prose = Annotated[str, Length(0, 4096)]
Report = Annotated[str, Length(0, 1 << 16)]
"""What a program said, in full."""

Amount = Annotated[int, Range(0, (1 << 31) - 1)]
