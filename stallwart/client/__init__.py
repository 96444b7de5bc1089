"""What callers of the service use: a typed client for synchronous and for asynchronous programs."""

from stallwart.client.calls import Evidence, Fields, Kind, OnFailure, Photo
from stallwart.client.client import AsyncClient, Client
from stallwart.client.errors import (
    FaultError,
    MissingError,
    NoAnswerError,
    NotAllowedError,
    RefusedError,
    RepeatError,
    ServiceError,
    TryLaterError,
)

__all__ = [
    "AsyncClient",
    "Client",
    "Evidence",
    "FaultError",
    "Fields",
    "Kind",
    "MissingError",
    "NoAnswerError",
    "NotAllowedError",
    "OnFailure",
    "Photo",
    "RefusedError",
    "RepeatError",
    "ServiceError",
    "TryLaterError",
]
