"""Pieces of HTML that a report is made of."""

from collections.abc import Iterable, Sequence
import dataclasses
import html


def escape(text: object) -> str:
    """Text as it may be between tags and in attributes."""
    return html.escape(str(text))


def long_text(text: str) -> str:
    """Text that may be long or written from right to left, as glosses and names are."""
    return f'<bdi class="gloss" title="{escape(text)}">{escape(text)}</bdi>'


def number(value: float, text: str) -> str:
    """A number as text, with its exact value for programs."""
    return f'<data value="{value!r}">{text}</data>'


def percent(value: float) -> str:
    """A fraction in percent."""
    return number(float(value), f'{100 * value:.1f}\N{NO-BREAK SPACE}%')


def interval(low: float, high: float) -> str:
    """An interval of fractions in percent."""
    return f'{percent(low)} to {percent(high)}'


def facts(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and values; the values are HTML."""
    cells = ''.join(f'<tr><th scope="row">{_breakable(name)}</th><td>{value}</td></tr>' for name, value in rows)
    return f'<table class="facts"><caption>{escape(caption)}</caption><tbody>{cells}</tbody></table>'


def _breakable(name: str) -> str:
    """A name that may be broken after its underscores."""
    return escape(name).replace('_', '_<wbr>')


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell: HTML, and the number that it is sorted by."""

    content: str
    value: float | None = None

    def to_html(self) -> str:
        """The element."""
        if self.value is None:
            return f'<td>{self.content}</td>'
        return f'<td class="number" data-value="{self.value:g}">{self.content}</td>'


def percent_cell(value: float) -> Cell:
    """A fraction in percent."""
    return Cell(percent(value), value)


def interval_cell(low: float, high: float) -> Cell:
    """An interval of fractions in percent, sorted by its lower end."""
    return Cell(interval(low, high), low)


def count_cell(value: int) -> Cell:
    """A whole number."""
    return Cell(f'{value:,}', value)


def sortable(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Cell]]],
    ascending: str = '',
    chosen: int | None = None,
) -> str:
    """A table whose headers sort it, in a box that scrolls.

    Args:
        caption: of the table.
        columns: that of the row headers, and those of the cells.
        rows: HTML of the row header, and its cells; at least one row.
        ascending: the column by which the rows are sorted already.
        chosen: the row that is set off.
    """
    first = [Cell(''), *rows[0][1]]
    header = ''.join(_header(name, cell, name == ascending) for name, cell in zip(columns, first, strict=True))
    body = ''.join(
        f'<tr{" class=chosen" if number == chosen else ""}><th scope="row">{name}</th>'
        f'{"".join(cell.to_html() for cell in cells)}</tr>'
        for number, (name, cells) in enumerate(rows)
    )
    table = f'<table><caption>{escape(caption)}</caption><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>'
    return scrolling(caption, table)


def _header(name: str, cell: Cell, is_sorted: bool) -> str:
    """The header of a column of such cells; drawings cannot be sorted."""
    style = ' class="number"' if cell.value is not None else ''
    if cell.content.startswith('<svg'):
        return f'<th scope="col">{escape(name)}</th>'
    order = ' aria-sort="ascending"' if is_sorted else ''
    return f'<th scope="col"{style}{order}><button type="button">{escape(name)}</button></th>'


def scrolling(name: str, content: str) -> str:
    """A box that scrolls, by keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">{content}</div>'


def figure(drawing: str, caption: str) -> str:
    """An SVG with a caption below; both HTML."""
    return f'<figure>{drawing}<figcaption>{caption}</figcaption></figure>'
