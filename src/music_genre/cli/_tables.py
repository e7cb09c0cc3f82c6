"""Tables for people: bold headings on a terminal, plain text elsewhere; nothing is cut off."""

from __future__ import annotations

from collections.abc import Sequence

WIDE = 10_000  # characters a line of an output that is not a terminal: no table is wider

Cell = str | float | None


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], width: int = WIDE) -> None:
    """Print rows below headings; numbers have three decimals and stand to the right, None is ``-``.

    Args:
        columns: the headings.
        rows: (rows, columns) cells.
        width: characters a line of an output that is not a terminal; longer cells are folded.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        is_text = any(isinstance(row[number], str) for row in rows)
        table.add_column(Text(name), justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_format(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = width
    console.print(table)


def print_text(text: str, width: int) -> None:
    """Print text on lines of up to ``width`` characters; a longer word is folded."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.width = min(console.width, width) if console.is_terminal else width
    console.print(Text(text, overflow="fold"))


def _format(cell: Cell) -> str:
    if cell is None:
        return "-"
    return cell if isinstance(cell, str) else f"{cell:.3f}"
