"""A linear problem as CVXPY compiled it, kept in one HiGHS instance: solved again for other bounds or costs, warm."""

from __future__ import annotations

import cvxpy as cp
import highspy
import numpy as np

from vpp_pipeline.domain.arrays import Array
from vpp_pipeline.errors import SolveError


class WarmLinearProgram:
    """Minimises cost · x. Parameters count as they stood when it was made; each solve goes on from the last basis."""

    def __init__(self, problem: cp.Problem) -> None:
        data, _, _ = problem.get_problem_data("HIGHS")
        self._first_column = data["param_prob"].var_id_to_col
        matrix, right = data["A"].tocsc(), data["b"]
        model = highspy.HighsModel()
        lp = model.lp_
        lp.num_row_, lp.num_col_ = matrix.shape
        lp.col_cost_ = data["c"]
        lp.row_lower_ = np.concatenate([right[: data["dims"].zero], np.full(len(right) - data["dims"].zero, -np.inf)])
        lp.row_upper_ = right
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
        lp.col_lower_ = _bounds(data["lower_bounds"], -np.inf, lp.num_col_)
        lp.col_upper_ = _bounds(data["upper_bounds"], np.inf, lp.num_col_)
        self._highs = highspy.Highs()
        self._highs.setOptionValue("output_flag", False)
        self._highs.passModel(model)

    def set_bounds(self, variable: cp.Variable, low: Array, high: Array) -> None:
        """Bounds of a vector variable."""
        self._highs.changeColsBounds(variable.size, self._columns(variable), low, high)

    def set_cost(self, variable: cp.Variable, cost: Array) -> None:
        """Cost of a vector variable, in the minimised objective."""
        self._highs.changeColsCost(variable.size, self._columns(variable), cost)

    def solve(self) -> tuple[float, Array] | None:
        """The least cost and the values of all columns; None if no answer exists within the bounds."""
        self._highs.run()
        status = self._highs.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            return None
        if status != highspy.HighsModelStatus.kOptimal:
            raise SolveError(f"HiGHS says {self._highs.modelStatusToString(status)}")
        return self._highs.getInfo().objective_function_value, np.array(self._highs.getSolution().col_value)

    def value_of(self, variable: cp.Variable, values: Array) -> Array:
        """A vector variable's part of the values of all columns."""
        return np.asarray(values[self._columns(variable)])

    def _columns(self, variable: cp.Variable) -> np.ndarray:
        first = self._first_column.get(variable.id, 0)  # a variable of no size has no column
        return np.arange(first, first + variable.size, dtype=np.int32)


def _bounds(given: Array | None, otherwise: float, count: int) -> Array:
    return np.full(count, otherwise) if given is None else np.asarray(given, dtype=float)
