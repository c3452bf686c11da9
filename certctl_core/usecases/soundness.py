"""What is asked of every object that somebody names."""

from collections.abc import Iterable

from certctl_core.errors import FieldProblem, Invalid
from certctl_core.ids import CLIENT_ID

MAX_NAME = 255


def must_be_sound(noun: str, identity: str, name: str, problems: Iterable[FieldProblem] = ()) -> None:
    """Raises `Invalid` naming every field that is wrong: id and name, and what else was found."""
    found = list(problems)
    if not CLIENT_ID.fullmatch(identity):
        found.append(FieldProblem("id", "must be 1 to 128 letters, digits, dots, dashes or underscores"))
    if not name.strip():
        found.append(FieldProblem("name", "must not be empty"))
    elif len(name) > MAX_NAME:
        found.append(FieldProblem("name", f"must be at most {MAX_NAME} characters"))
    if found:
        said = "; ".join(f"{problem.field}: {problem.message}" for problem in found)
        raise Invalid(f"the {noun} is not valid: {said}", fields=found)
