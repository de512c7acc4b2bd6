"""A linear problem as CVXPY compiled it, kept in one HiGHS instance: solved again for other bounds or costs, warm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import highspy
import numpy as np
from scipy import sparse

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.errors import SolveError

ANSWERS = (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kInfeasible)


class WarmLinearProgram:
    """Minimises cost · x. Parameters count as they stood when it was made or at :meth:`take_parameters`.

    Each solve is a warm start from the last basis. HiGHS gets no columns that cannot move and no rows that the columns'
    bounds imply: its own presolve would remove them, but does not run on a warm start.
    """

    def __init__(self, problem: cp.Problem) -> None:
        self._problem = problem
        data, self._chain, self._inverse = problem.get_problem_data("HIGHS")
        self._first_column = data["param_prob"].var_id_to_col
        self._matrix, self._equations = data["A"].tocsr(), data["dims"].zero
        self._cost, right = np.array(data["c"], dtype=float), np.asarray(data["b"], dtype=float)
        lower = _bounds(data["lower_bounds"], -np.inf, self._matrix.shape[1])
        upper = _bounds(data["upper_bounds"], np.inf, self._matrix.shape[1])
        self._moves = lower < upper
        self._fixed = np.where(self._moves, 0.0, lower)
        self._taken = self._matrix @ self._fixed  # of each row's right-hand side, by what cannot move
        self._place = (np.cumsum(self._moves) - 1).astype(np.int32)  # of a moving column in HiGHS
        self._bounds = lower[self._moves], upper[self._moves]
        self._reach = _largest(self._matrix, lower, upper)
        self.pivots = 0  # simplex iterations so far
        self._binds = self._may_bind(right)
        self._start(right)

    def take_parameters(self) -> None:
        """Use the problem's parameters as they stand now; they may appear on right-hand sides only."""
        data, _, self._inverse = self._problem.get_problem_data("HIGHS")
        right = np.asarray(data["b"], dtype=float)
        if (self._may_bind(right) & ~self._binds).any():  # a row that was left out has become tighter
            self._binds |= self._may_bind(right)
            self._start(right)
            return
        low, high = self._sides(right)
        self._highs.changeRowsBounds(len(low), np.arange(len(low), dtype=np.int32), low, high)

    def set_bounds(self, variable: cp.Variable, low: Array, high: Array) -> None:
        """Bounds of a vector variable that was made without any."""
        columns = self._columns(variable)
        if not (self._moves[columns].all() and np.isinf(self._bounds[1][self._place[columns]]).all()):
            raise ValueError("rows were left out because of these bounds")
        self._highs.changeColsBounds(variable.size, self._place[columns], low, high)

    def set_cost(self, variable: cp.Variable, cost: Array) -> None:
        """Cost of a vector variable, in the minimised objective."""
        columns = self._columns(variable)
        self._cost[columns] = cost
        moving = columns[self._moves[columns]]
        self._highs.changeColsCost(len(moving), self._place[moving], self._cost[moving])

    def solve(self) -> tuple[float, Array] | None:
        """The least cost and the values of all columns; None if no answer exists within the bounds.

        A warm start that ends in neither, in numerical trouble, is followed by a cold one. Raises SolveError with
        HiGHS' word where that has no answer either.
        """
        status = self._run()
        if status not in ANSWERS:
            self._highs.clearSolver()
            status = self._run()
        if status == highspy.HighsModelStatus.kInfeasible:
            return None
        if status != highspy.HighsModelStatus.kOptimal:
            raise SolveError(f"HiGHS says {self._highs.modelStatusToString(status)}")
        values = self._fixed.copy()
        values[self._moves] = self._highs.getSolution().col_value
        return float(self._cost @ values), values

    def _run(self) -> Any:
        """HiGHS' status of the model."""
        self._highs.run()
        self.pivots += max(int(self._highs.getInfo().simplex_iteration_count), 0)
        return self._highs.getModelStatus()

    def columns_of(self, variable: cp.Variable) -> np.ndarray:
        """Columns (size,) of the variable's entries, in CVXPY's order: the first index runs fastest."""
        return self._columns(variable)

    @property
    def width(self) -> int:
        """Number of columns, those that cannot move included."""
        return int(self._matrix.shape[1])

    def add_rows(self, rows: sparse.csr_matrix, most: Array) -> None:
        """Further rows ``rows @ x <= most`` over all columns; for a program whose parameters are not taken again."""
        given = rows[:, self._moves]
        high = most - rows @ self._fixed
        self._highs.addRows(
            len(high), np.full(len(high), -np.inf), high, given.nnz, given.indptr, given.indices, given.data
        )

    def reduced_cost_of(self, variable: cp.Variable) -> Array:
        """Reduced cost of a vector variable, all of whose entries move, at the last answer."""
        places = self._place[self._columns(variable)]
        return np.asarray(np.array(self._highs.getSolution().col_dual)[places])

    def hand_over(self, answer: tuple[float, Array]) -> None:
        """Give the problem's variables and constraints the values and duals of the ``answer`` just found."""
        duals = np.zeros(len(self._binds))
        duals[self._binds] = self._highs.getSolution().row_dual
        info = self._highs.getInfo()
        counts = {name: getattr(info, name) for name in dir(info) if name.endswith("_iteration_count")}
        results = {
            "run_time": self._highs.getRunTime(),
            "info": SimpleNamespace(objective_function_value=answer[0], **counts),
            "model_status": "kOptimal",
            "solution": SimpleNamespace(col_value=answer[1], row_dual=duals),
        }
        self._problem.unpack_results(results, self._chain, self._inverse)

    def another(self) -> WarmLinearProgram:
        """The same program in a HiGHS instance of its own, which begins where this one stands."""
        twin = object.__new__(WarmLinearProgram)
        twin.__dict__.update(self.__dict__, _cost=self._cost.copy(), pivots=0)
        twin._highs = _quiet()
        twin._highs.passModel(self._highs.getModel())
        twin.go_on_from(self)
        return twin

    def go_on_from(self, twin: WarmLinearProgram) -> None:
        """Begin the next solve from where ``twin`` (one of :meth:`another`) stands."""
        self._highs.setBasis(twin._highs.getBasis())

    def value_of(self, variable: cp.Variable, values: Array) -> Array:
        """A vector variable's part of the values of all columns."""
        return np.asarray(values[self._columns(variable)])

    def _start(self, right: Array) -> None:
        model, given = highspy.HighsModel(), self._matrix[self._binds][:, self._moves].tocsc()
        lp = model.lp_
        lp.num_row_, lp.num_col_ = given.shape
        lp.col_cost_ = self._cost[self._moves]
        lp.row_lower_, lp.row_upper_ = self._sides(right)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = given.indptr, given.indices, given.data
        lp.col_lower_, lp.col_upper_ = self._bounds
        self._highs = _quiet()
        self._highs.passModel(model)

    def _may_bind(self, right: Array) -> Flags:
        """Rows that some values within the columns' bounds would break; equations all do."""
        return np.asarray((np.arange(len(right)) < self._equations) | np.isinf(self._reach) | (self._reach > right))

    def _sides(self, right: Array) -> tuple[Array, Array]:
        high = right - self._taken
        low = np.where(np.arange(len(right)) < self._equations, high, -np.inf)
        return low[self._binds], high[self._binds]

    def _columns(self, variable: cp.Variable) -> np.ndarray:
        first = self._first_column.get(variable.id, 0)  # a variable of no size has no column
        return np.arange(first, first + variable.size, dtype=np.int32)


def _quiet() -> highspy.Highs:
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("simplex_dual_edge_weight_strategy", 1)  # Devex: a fifth less CPU time than steepest edge here
    return highs


def _bounds(given: Array | None, otherwise: float, count: int) -> Array:
    return np.full(count, otherwise) if given is None else np.asarray(given, dtype=float)


def _largest(matrix: sparse.csr_matrix, lower: Array, upper: Array) -> Array:
    """The most that each row can come to within the columns' bounds; infinity where a column has none on one side.

    Decisions and quantities have none: the limits that a search sets them are rows, to be kept however wide they are.
    """
    entries = matrix.tocoo()
    most = np.where(entries.data > 0.0, upper[entries.col], lower[entries.col]) * entries.data
    most[np.isinf(upper - lower)[entries.col]] = np.inf
    return np.asarray(np.bincount(entries.row, most, matrix.shape[0]), dtype=float)
