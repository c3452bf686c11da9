"""Answers for programs: JSON, YAML and CSV, and a part of an answer chosen by JMESPath."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from certctl_cli.command import Json, Result, Text
from certctl_cli.profiles import SettingsError
from certctl_cli.shapes import view_of

CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FORMULA: Final = re.compile(r"[=+@\t\r-]")
_NUMBER: Final = re.compile(r"-?[0-9][0-9.]*")


def chosen(result: Result, expression: str) -> Result:
    """The part of the answer that a JMESPath expression names. Raises `SettingsError` for one that is none."""
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        part = jmespath.search(expression, result.data)
    except JMESPathError as problem:
        said = str(problem).partition("\n")[0]
        raise SettingsError(f"--query: {said}", hint="It is JMESPath, such as data[?status=='Active'].id") from problem
    return Result(data=part, views=(Text("Nothing."),) if part is None else view_of(part), failed=result.failed)


def as_json(data: Json) -> str:
    """Unlike JSON's own rules, without the control characters that terminals obey."""
    written = json.dumps(data, indent=2, ensure_ascii=False)
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", written) + "\n"


def as_yaml(data: Json) -> str:
    import yaml

    return yaml.safe_dump(data, allow_unicode=False, sort_keys=False)


def as_csv(data: Json) -> str:
    """Rows under the names of their fields; what is not plain is JSON. A cell that a spreadsheet would take for a
    formula begins with an apostrophe (CWE-1236)."""
    rows = _rows(data)
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_csv_cell(row.get(name)) for name in names] for row in rows)
    return out.getvalue()


def _rows(data: Json) -> Sequence[Mapping[str, Json]]:
    match data:
        case {"data": list(rows)} | list(rows):
            return [row if isinstance(row, dict) else {"value": row} for row in rows]
        case dict():
            return [data]
    return [{"value": data}]


def _csv_cell(value: Json) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            plain = CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)
            return f"'{plain}" if _FORMULA.match(plain) and not _NUMBER.fullmatch(plain) else plain
        case int() | float():
            return str(value)
    return json.dumps(value, ensure_ascii=False)
