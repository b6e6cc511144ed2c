"""Conditions on metadata columns, such as ``theta_e_arcsec < 0.8 and lens_model == 'SIS'``.

They are read with Python's own parser and never evaluated by it: only comparisons of columns with literals, joined by
``and``, ``or`` and ``not``, are known. A null makes a comparison false.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

_COMPARISONS: dict[type[ast.cmpop], Callable[[pa.ChunkedArray, Any], Any]] = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.In: lambda column, values: pc.is_in(column, pa.array(values, column.type)),
    ast.NotIn: lambda column, values: pc.and_(
        pc.invert(pc.is_in(column, pa.array(values, column.type))), pc.is_valid(column)
    ),
}


class ConditionError(ValueError):
    """A condition that cannot be read, or that does not fit the columns."""


@dataclass(frozen=True)
class Condition:
    """A condition on rows of a table.

    Attributes:
        text: As it was written.
        columns: Names of the columns it looks at.
    """

    text: str
    columns: tuple[str, ...]
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read a condition.

        Raises:
            ConditionError: When it holds anything but comparisons of a column with literals.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            raise ConditionError(
                f"the condition {text!r} cannot be read ({error.msg}); write for instance theta_e_arcsec < 0.8"
            ) from error
        columns: list[str] = []
        _check(tree, text, columns)
        return cls(text, tuple(dict.fromkeys(columns)), tree)

    def holds(self, table: pa.Table) -> Mask:
        """Whether it holds for each row (N,) of a table that has its columns.

        Raises:
            ConditionError: When a column is not there, or is compared with a value of another kind.
        """
        if missing := [name for name in self.columns if name not in table.column_names]:
            raise ConditionError(
                f"the condition {self.text!r} names column {missing[0]}, which the data do not have; "
                f"they have {', '.join(table.column_names)}"
            )
        try:
            return _evaluate(self._tree, table)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise ConditionError(
                f"the condition {self.text!r} compares a column with a value of another kind ({error})"
            ) from error


def _check(node: ast.expr, text: str, columns: list[str]) -> None:
    """Refuse what is no comparison of a column with literals; collect the columns' names."""
    match node:
        case ast.BoolOp(values=parts):
            for part in parts:
                _check(part, text, columns)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            _check(part, text, columns)
        case ast.Compare(left=ast.Name(id=column), ops=[operator], comparators=[value]):
            several = isinstance(operator, ast.In | ast.NotIn)
            if type(operator) not in _COMPARISONS or isinstance(_literal(value, text), tuple) != several:
                raise ConditionError(f"the condition {text!r}: {ast.unparse(node)} is no comparison that is known")
            columns.append(column)
        case _:
            raise ConditionError(
                f"the condition {text!r}: {ast.unparse(node)} is not a comparison of a column with a value; write for "
                "instance theta_e_arcsec < 0.8, or lens_model in ('SIE', 'SIS')"
            )


def _literal(node: ast.expr, text: str) -> Any:
    """A number, a string, or a tuple of them."""
    try:
        value = ast.literal_eval(node)
    except ValueError as error:
        raise ConditionError(
            f"the condition {text!r}: {ast.unparse(node)} is neither a number nor a quoted word"
        ) from error
    return tuple(value) if isinstance(value, list) else value


def _evaluate(node: ast.expr, table: pa.Table) -> Mask:
    match node:
        case ast.BoolOp(op=operator, values=parts):
            join = np.logical_and if isinstance(operator, ast.And) else np.logical_or
            return reduce(join, (_evaluate(part, table) for part in parts))
        case ast.UnaryOp(operand=part):
            return ~_evaluate(part, table)
        case ast.Compare(left=ast.Name(id=column), ops=[operator], comparators=[value]):
            cells, wanted = table[column], ast.literal_eval(value)
            if pa.types.is_floating(cells.type) and isinstance(wanted, int | float):
                wanted = pa.scalar(wanted, cells.type)  # 0.6 in float32 is not the 0.6 of a Python float
            truth = _COMPARISONS[type(operator)](cells, wanted)
            return pc.fill_null(truth, False).to_numpy(zero_copy_only=False)
    raise AssertionError(f"{ast.dump(node)} passed the check of the condition")
