"""The day's budget, kept in the store: reserved before each attempt, so that no process and no thread overshoots it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.llm.interface import FailKind, LLMError, LLMRequest, LLMUsage
from vpp_pipeline.llm.store import Database
from vpp_pipeline.settings import LLMSettings

OVERHEAD_TOKENS = 64  # what a provider adds around system, user and schema
ROUNDING_USD = 1e-9


@dataclass(frozen=True)
class Spent:
    """What a day has used, open reservations included."""

    calls: int
    tokens: int
    usd: float


@dataclass(frozen=True)
class Reservation:
    """The most that one attempt may use."""

    attempt_id: int
    tokens: int
    usd: float


class Budget:
    """Calls, tokens and $ of a Pacific day, the day at whose midnight Gemini's own quotas begin anew.

    An attempt whose cost stays unknown (a time-out, a killed process) keeps its reservation: the worst case is spent.
    """

    def __init__(self, database: Database, settings: LLMSettings) -> None:
        self._database = database
        self._settings = settings

    def usd(self, usage: LLMUsage) -> float:
        """$ at the settings' prices; cached input counts in full."""
        settings = self._settings
        input_usd = usage.input_tokens * settings.input_usd_per_million_tokens
        return (input_usd + usage.output_tokens * settings.output_usd_per_million_tokens) / 1e6

    def reserve(self, request: LLMRequest) -> Reservation:
        """Room for the worst case of one attempt. Raises LLMError(BUDGET) where the day has none left."""
        worst = worst_usage(request)
        tokens, usd, settings = worst.tokens, self.usd(worst), self._settings
        now = datetime.now(UTC)
        with self._database.transaction() as connection:
            spent = _spent(connection.execute(_SPENT, (pacific_day(now),)).fetchone())
            for name, used, more, most in (
                ("calls", spent.calls, 1, settings.calls_per_day),
                ("tokens", spent.tokens, tokens, settings.tokens_per_day),
                ("usd", spent.usd, usd, settings.usd_per_day + ROUNDING_USD),
            ):
                if used + more > most:
                    raise LLMError(FailKind.BUDGET, f"llm.{name}_per_day: {used:g} used, this needs up to {more:g}")
            row = (pacific_day(now), now.isoformat(), tokens, usd)
            inserted = connection.execute("insert into attempt (day, at_utc, tokens, usd) values (?, ?, ?, ?)", row)
        assert inserted.lastrowid is not None
        return Reservation(inserted.lastrowid, tokens, usd)

    def settle(self, reservation: Reservation, usage: LLMUsage) -> None:
        """What the attempt used instead of its worst case."""
        row = (usage.tokens, self.usd(usage), reservation.attempt_id)
        with self._database.transaction() as connection:
            connection.execute("update attempt set tokens = ?, usd = ?, is_settled = 1 where attempt_id = ?", row)

    def spent(self, at: datetime | None = None) -> Spent:
        """What the Pacific day of ``at`` (now) has used."""
        with self._database.transaction() as connection:
            return _spent(connection.execute(_SPENT, (pacific_day(at or datetime.now(UTC)),)).fetchone())


_SPENT = "select count(*), coalesce(sum(tokens), 0), coalesce(sum(usd), 0.0) from attempt where day = ?"


def _spent(row: tuple[int, int, float]) -> Spent:
    return Spent(*row)


def pacific_day(at: datetime) -> str:
    return at.astimezone(PACIFIC).date().isoformat()


def worst_usage(request: LLMRequest) -> LLMUsage:
    """Most tokens that an attempt can be billed: a token per byte of input, and all the output that is allowed."""
    return LLMUsage(request.input_bytes() + OVERHEAD_TOKENS, request.max_output_tokens)
