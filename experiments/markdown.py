"""Tables in Markdown, and the numbers in them, for the pages that experiments write."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table, with a line end after its last row."""
    header = list(header)
    return ''.join(f'| {" | ".join(map(str, line))} |\n' for line in [header, ['---'] * len(header), *rows])


def record_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of rows of the same fields, at least one."""
    return table(rows[0], (row.values() for row in rows))


def interval(row: Mapping[str, Any], name: str, form: str) -> str:
    """The fractions `<name>_low` and `<name>_high` of a row, in percent."""
    return f'{100 * row[f"{name}_low"]:{form}} to {100 * row[f"{name}_high"]:{form}}'


def p_value(value: float) -> str:
    """A p-value with three decimals."""
    return 'below 0.001' if value < 0.001 else f'{value:.3f}'
