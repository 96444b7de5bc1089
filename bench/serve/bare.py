"""The peer: a bare FastAPI handler that parses and answers the same JSON and does nothing else."""

from fastapi import FastAPI

from stallwart.core.decision import Action, Cause, Decision, Limits
from stallwart.serving.schemas import DecisionRequest

app = FastAPI()


@app.post("/v1/decisions")
async def decide(asked: DecisionRequest) -> Decision:
    return Decision(
        decision_id="d_019ab0000000000000000000000000000",
        listing_id=asked.listing.listing_id,
        revision="0" * 64,
        action=Action.ALLOW,
        policies=(),
        reason="no policy is likely to be broken",
        scores={f"policy_{number}": 0.01 for number in range(11)},
        thresholds={f"policy_{number}": Limits(block=0.9, review=0.2) for number in range(11)},
        evidence=None,
        bundle="b" * 64,
        taxonomy="c" * 64,
        cause=Cause.NEW,
        supersedes=None,
        decided_at_ms=1_767_225_600_000,
    )
