"""Who calls, and whether they may: a few microseconds from memory, and a lookup where memory does not know.

The caller of this module asks `cached` on its event loop and, where that is None, `load` in a thread:

    caller = keys.cached(header, Scope.SCORE) or await to_thread(keys.load, header, Scope.SCORE)

What was read of a key is trusted for `settings.key_cache_seconds`, a key that is not there too. It knows no
HTTP but the one header; the errors carry the status and headers of the answer.
"""

import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from sqlalchemy import Engine

from stallwart.core.errors import ConfigError, QuotaError, ScopeError, UnauthenticatedError
from stallwart.core.settings import Settings
from stallwart.store.database import store_errors
from stallwart.store.keys import ApiKey, Scope, key_id_of, read_key, secret_digest
from stallwart.store.quotas import take_tokens

_MINUTE_MS = 60_000
_REMEMBERED = 10_000  # keys, and as many ids that are none: about 10 MB
_LEASES_PER_MINUTE = 50  # a process takes 2 % of a quota at once: few writes, little left over
_STRIPES = 64
_ASK = "send the header 'Authorization: Bearer sw_...'; a key is made by: stallwart keys create"
_WRONG = "the API key is not valid; check that it was copied whole, or create another"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks, once it is known that they may.

    Attributes:
        key_id: id of the API key; feedback and idempotency keys are kept under it.
        name: the key's name.
        scopes: what it may do.
    """

    key_id: str
    name: str
    scopes: frozenset[Scope]


LOCAL = Caller("insecure-local", "insecure local", frozenset(Scope))


@dataclass(slots=True)
class _Known:
    """What was read of one key, and the tokens that this process holds of its quota."""

    key: ApiKey | None
    read_at_ms: int
    caller: Caller | None = None
    tokens: "_Tokens" = field(default_factory=lambda: _Tokens())


@dataclass(slots=True)
class _Tokens:
    minute: int = -1
    left: int = 0
    exhausted: bool = False


class Authenticator:
    """Checks API keys, scopes and quotas; safe to use from several threads.

    Args:
        engine: the database of keys and quotas.
        settings: `key_cache_seconds` is how long a process trusts what it read.
        now_ms: milliseconds since 1970, UTC.
        insecure_local: everyone is `LOCAL` and may do everything; for a service on loopback only, see
            `require_loopback`.
    """

    def __init__(
        self, engine: Engine, settings: Settings, now_ms: Callable[[], int], *, insecure_local: bool = False
    ) -> None:
        self._engine = engine
        self._trusted_ms = int(settings.key_cache_seconds * 1000)
        self._now_ms = now_ms
        self._insecure_local = insecure_local
        self._known: dict[str, _Known] = {}
        self._absent: dict[str, _Known] = {}  # apart, so that made-up ids push out no real key
        self._memory = threading.Lock()  # never held while the database is asked
        self._loading = [threading.Lock() for _ in range(_STRIPES)]

    def check(self, authorization: str | None, scope: Scope) -> Caller:
        """Who calls; asks the database where memory does not know, so not for an event loop.

        Raises:
            UnauthenticatedError: no key, or none that is valid now.
            ScopeError: the key lacks the scope.
            QuotaError: the key's quota of this minute is used up.
            StoreError: the database does not answer.
        """
        return self.cached(authorization, scope) or self.load(authorization, scope)

    def cached(self, authorization: str | None, scope: Scope) -> Caller | None:
        """Who calls, from memory and within microseconds; None where `load` has to ask the database.

        A caller that is returned has spent one token of its quota; None spent nothing.

        Raises:
            UnauthenticatedError: no key, or none that is valid now.
            ScopeError: the key lacks the scope.
            QuotaError: the key's quota of this minute is used up.
        """
        if self._insecure_local:
            return LOCAL
        secret, key_id = _presented(authorization)
        now = self._now_ms()
        known = self._remembered(key_id, now)
        return self._admit(known, secret, scope, now) if known else None

    def load(self, authorization: str | None, scope: Scope) -> Caller:
        """Who calls, from the database; it blocks, so it runs in a thread.

        Raises:
            UnauthenticatedError: no key, or none that is valid now.
            ScopeError: the key lacks the scope.
            QuotaError: the key's quota of this minute is used up.
            StoreError: the database does not answer.
        """
        if self._insecure_local:
            return LOCAL
        secret, key_id = _presented(authorization)
        with self._loading[hash(key_id) % _STRIPES]:  # the first of many asks, the others find its answer
            known = self._remembered(key_id, self._now_ms()) or self._read(key_id)
            while True:
                now = self._now_ms()
                caller = self._admit(known, secret, scope, now)
                if caller:
                    return caller
                self._lease(known, now // _MINUTE_MS)

    def _remembered(self, key_id: str, now_ms: int) -> _Known | None:
        known = self._known.get(key_id) or self._absent.get(key_id)
        # A clock that was set back makes the age negative, which is no reason to trust for longer
        fresh = known is not None and 0 <= now_ms - known.read_at_ms < self._trusted_ms
        return known if fresh else None

    def _read(self, key_id: str) -> _Known:
        known = _Known(None, self._now_ms())  # the age counts from before the answer
        with store_errors("the API key cannot be read"):
            known.key = read_key(self._engine, key_id)
        if known.key:
            known.caller = Caller(known.key.key_id, known.key.name, known.key.scopes)
        with self._memory:
            before = self._known.pop(key_id, None)
            self._absent.pop(key_id, None)
            if before:
                known.tokens = before.tokens
            into = self._known if known.key else self._absent
            while len(into) >= _REMEMBERED:
                del into[next(iter(into))]  # the one that was read the longest ago
            into[key_id] = known
        return known

    def _admit(self, known: _Known, secret: str, scope: Scope, now_ms: int) -> Caller | None:
        key, caller = known.key, known.caller
        # An id that is none costs the same comparison as a wrong secret
        right = hmac.compare_digest(secret_digest(secret), key.secret_hash if key else _NOBODY)
        if not right or key is None or caller is None:
            raise UnauthenticatedError(_WRONG)
        state = key.state(now_ms)
        if state != "active":
            raise UnauthenticatedError(f"the API key {key.key_id} is {state}; create or rotate to another")
        if scope not in key.scopes:
            raise ScopeError(
                f"the API key {key.key_id} lacks the scope {scope.value!r}; it has:"
                f" {', '.join(sorted(key.scopes))}",
                scope.value,
            )
        if key.per_minute is None or self._spend(known.tokens, key, now_ms):
            return caller
        return None

    def _spend(self, tokens: _Tokens, key: ApiKey, now_ms: int) -> bool:
        """Whether a token of this minute was there; False where one may still be leased."""
        with self._memory:
            if tokens.minute != now_ms // _MINUTE_MS:
                return False
            if tokens.left > 0:
                tokens.left -= 1
                return True
            if not tokens.exhausted:
                return False
        raise QuotaError(
            f"the API key {key.key_id} may make {key.per_minute} requests per minute, and they are used up",
            -(-(_MINUTE_MS - now_ms % _MINUTE_MS) // 1000),
        )

    def _lease(self, known: _Known, minute: int) -> None:
        if known.key is None or known.key.per_minute is None:
            return
        limit = known.key.per_minute
        wanted = max(1, limit // _LEASES_PER_MINUTE)
        with store_errors("the key's quota cannot be read"):
            granted = take_tokens(self._engine, known.key.key_id, minute, wanted, limit)
        with self._memory:
            if known.tokens.minute != minute:
                known.tokens.minute, known.tokens.left = minute, 0
            known.tokens.left += granted
            known.tokens.exhausted = granted == 0


_NOBODY = secret_digest("")


def require_loopback(host: str) -> None:
    """Nothing where a service on `host` is reached from this machine only.

    Raises:
        ConfigError: it can be reached from elsewhere, so it needs keys.
    """
    if host == "localhost":
        return
    try:
        if ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise ConfigError(
        f"--insecure-local lets everyone in and so takes a loopback address only, not {host!r};"
        " use --host 127.0.0.1, or make keys with: stallwart keys create"
    )


def _presented(authorization: str | None) -> tuple[str, str]:
    if not authorization:
        raise UnauthenticatedError(f"this needs an API key; {_ASK}", presented=False)
    kind, _, secret = authorization.partition(" ")
    secret = secret.strip()
    key_id = key_id_of(secret) if kind.lower() == "bearer" else None
    if key_id is None:
        raise UnauthenticatedError(f"the Authorization header holds no API key; {_ASK}")
    return secret, key_id
