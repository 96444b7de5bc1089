"""The routes of rollouts and of the verdicts that they rest on."""

from collections.abc import Awaitable, Callable
from typing import Any, get_args

from fastapi import Request
from fastapi.responses import JSONResponse
from sqlalchemy import Engine as Database

from stallwart.core.errors import ConfigError, NotFoundError
from stallwart.core.rollout import Rollout
from stallwart.core.settings import Settings
from stallwart.rollout.plan import plan_of
from stallwart.serving.keys import Caller
from stallwart.serving.request import read_body
from stallwart.serving.rollouts.operate import Act, act_on_rollout, start_rollout, status
from stallwart.serving.schemas import (
    DrawOut,
    DrawsOut,
    RolloutActIn,
    RolloutIn,
    VerdictIn,
    VerdictOut,
)
from stallwart.store.database import reading, writing
from stallwart.store.draws import Waiting, waiting
from stallwart.store.keys import Scope
from stallwart.store.verdicts import Answer, Source, add_verdict

_LOOKS = 200  # of a rollout's life that the page and the API get
_DRAWS = 100
_ID = 64  # characters of a rollout's id at most


class RolloutRoutes:
    """One method for each route; each first asks who calls.

    Args:
        database: the service's.
        settings: limits of bodies.
        now_ms: milliseconds since 1970, UTC.
        caller: who calls, if they have a scope.
        from_store: runs what asks the database, within the time of an answer.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        now_ms: Callable[[], int],
        caller: Callable[[Any, Scope], Awaitable[Caller]],
        from_store: Callable[..., Awaitable[Any]],
    ):
        self._database, self._settings, self._now_ms = database, settings, now_ms
        self._caller, self._from_store = caller, from_store

    def table(self) -> list[tuple[str, str, Callable[..., Any], Scope | None, dict[str, Any]]]:
        """Path, method, endpoint, needed scope, and what describes the route."""
        verdict: dict[str, Any] = {"response_model": VerdictOut, "status_code": 201}
        return [
            ("/v1/rollout", "GET", self.rollout, Scope.READ, {}),
            ("/v1/rollout", "POST", self.start, Scope.ADMIN, {"response_model": Rollout, "status_code": 201}),
            ("/v1/rollout:{act}", "POST", self.act, Scope.ADMIN, {"response_model": Rollout}),
            ("/v1/audit/draws", "GET", self.draws, Scope.READ, {"response_model": DrawsOut}),
            ("/v1/audit/verdicts", "POST", self.verdict, Scope.FEEDBACK, verdict),
        ]

    async def rollout(self, request: Request, rollout_id: str | None = None) -> JSONResponse:
        """The running rollout, or else the last one: its arms, its guards, and what will happen next."""
        await self._caller(request.scope, Scope.READ)
        named = rollout_id[:_ID] if rollout_id else None
        return JSONResponse(await self._from_store(lambda: status(self._database, named, looks=_LOOKS)))

    async def start(self, request: Request) -> JSONResponse:
        """Start a rollout of a registered bundle."""
        caller = await self._caller(request.scope, Scope.ADMIN)
        asked = await read_body(request.scope, request.receive, RolloutIn, self._settings)
        plan = plan_of(asked.plan, "plan")
        rollout = await self._from_store(
            start_rollout, self._database, asked.challenger, plan, _who(caller), asked.why, self._now_ms()
        )
        return _told(rollout, 201)

    async def act(self, request: Request, act: str) -> JSONResponse:
        """Advance, hold, resume, abort or promote the running rollout."""
        caller = await self._caller(request.scope, Scope.ADMIN)
        if act not in get_args(Act):
            raise NotFoundError(f"a rollout takes {', '.join(get_args(Act))}")
        asked = await read_body(request.scope, request.receive, RolloutActIn, self._settings)

        def move() -> Rollout:
            return act_on_rollout(
                self._database,
                act,  # type: ignore[arg-type]  # checked above
                _who(caller),
                asked.why,
                self._now_ms(),
                version=asked.version,
                force=asked.force,
            )

        return _told(await self._from_store(move), 200)

    async def draws(self, request: Request, after: int = 0) -> JSONResponse:
        """Decisions that were drawn for the audit and wait for a verdict, the oldest first."""
        await self._caller(request.scope, Scope.READ)
        if not 0 <= after < 2**62:
            raise ConfigError("after is the seq of the last draw that was read, or 0")

        def read() -> list[Waiting]:
            with reading(self._database) as connection:
                return waiting(connection, after, _DRAWS)

        rows = tuple(DrawOut.model_validate(row) for row in await self._from_store(read))
        return JSONResponse(DrawsOut(draws=rows).model_dump(mode="json"))

    async def verdict(self, request: Request) -> JSONResponse:
        """Take what a person said of an audited decision."""
        await self._caller(request.scope, Scope.FEEDBACK)
        said = await read_body(request.scope, request.receive, VerdictIn, self._settings)

        def write() -> str:
            with writing(self._database) as connection:
                return add_verdict(
                    connection,
                    decision_id=said.decision_id,
                    answers={policy: Answer(answer) for policy, answer in said.answers.items()},
                    who=said.who,
                    source=Source.AUDIT,
                    now_ms=self._now_ms(),
                    severity=said.severity,
                    note=said.note,
                    replaces=said.replaces,
                ).verdict_id

        return JSONResponse({"verdict_id": await self._from_store(write)}, 201)


def _who(caller: Caller) -> str:
    """An API key, by the name that people gave it and the id that is its own."""
    return f"{caller.name} ({caller.key_id})"


def _told(rollout: Rollout, status_code: int) -> JSONResponse:
    return JSONResponse(rollout.model_dump(mode="json", exclude={"routing_key"}), status_code)
