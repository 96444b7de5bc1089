"""The OpenAPI document: what FastAPI knows of the routes, and the bodies that they parse themselves.

The routes read their bodies with pydantic directly, which saves half the time of a request.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from stallwart.serving.schemas import (
    BatchRequest,
    DecisionRequest,
    FeedbackIn,
    ListingIn,
    RolloutActIn,
    RolloutIn,
    VerdictIn,
)

_BODIES = (DecisionRequest, BatchRequest, FeedbackIn, RolloutIn, RolloutActIn, VerdictIn)
_REF = "#/components/schemas/{model}"
_EXAMPLE = ListingIn.model_config["json_schema_extra"]["examples"][0]  # type: ignore[index]
_HEADERS = {
    "Idempotency-Key": ("A repeat with the same key is answered with the same decision.", {"type": "string"}),
    "Stallwart-Deadline-Ms": (
        "How long an answer is of use, in milliseconds.",
        {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    ),
    "Stallwart-On-Failure": (
        "error: as on_failure in the body, and a busy service refuses before it reads the photos.",
        {"type": "string", "enum": ["error", "review"]},
    ),
}


def describe(app: FastAPI) -> None:
    """Let `app.openapi()` tell the whole truth, once it is asked."""

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in _BODIES],
        ref_template=_REF,
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "sw_..."}}
    document["security"] = [{"key": []}]
    paths = document["paths"]
    one, batch, feedback = (
        paths[path]["post"] for path in ("/v1/decisions", "/v1/decisions:batch", "/v1/feedback")
    )
    one["requestBody"] = _json("DecisionRequest", {"listing": _EXAMPLE, "evidence": "words"})
    one["requestBody"]["content"]["multipart/form-data"] = {
        "schema": {
            "type": "object",
            "required": ["request"],
            "properties": {
                "request": {"type": "string", "contentMediaType": "application/json"},
                "photo": {"type": "array", "items": {"type": "string", "format": "binary"}},
            },
        }
    }
    batch["requestBody"] = _json("BatchRequest", {"listings": [_EXAMPLE]})
    feedback["requestBody"] = _json("FeedbackIn", {"decision_id": "d_019ab", "kind": "appeal"})
    started, acted, judged = (
        paths[path]["post"] for path in ("/v1/rollout", "/v1/rollout:{act}", "/v1/audit/verdicts")
    )
    started["requestBody"] = _json("RolloutIn", {"challenger": "8afaaf04a650", "why": "trained to August"})
    acted["requestBody"] = _json("RolloutActIn", {"why": "the campaign is over"})
    judged["requestBody"] = _json(
        "VerdictIn", {"decision_id": "d_019ab", "answers": {"tobacco": "yes"}, "who": "ana"}
    )
    for route, names in ((one, _HEADERS), (batch, _HEADERS), (feedback, ("Idempotency-Key",))):
        route["parameters"] = [
            {"name": name, "in": "header", "description": _HEADERS[name][0], "schema": _HEADERS[name][1]}
            for name in names
        ]
    return document


def _json(model: str, example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": _REF.format(model=model)}, "example": example}}
    return {"required": True, "content": content}
