import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from stallwart.core.errors import ConfigError, QuotaError, ScopeError, StoreError, UnauthenticatedError
from stallwart.core.settings import Settings
from stallwart.serving.keys import LOCAL, Authenticator, require_loopback
from stallwart.store.database import open_database
from stallwart.store.keys import Scope, create_key, revoke_key, rotate_key

NOON = 1_800_000_000_000  # the start of a minute
SETTINGS = Settings(key_cache_seconds=5)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keys(database, clock):
    return Authenticator(database, SETTINGS, clock)


@pytest.fixture
def statements(database):
    """What the database is asked from here on."""
    seen = []
    event.listen(database, "before_cursor_execute", lambda *args: seen.append(args[2]))
    return seen


def header(made) -> str:
    return f"Bearer {made.secret}"


def test_a_key_with_the_scope_is_who_it_says(database, keys):
    made = create_key(database, "checkout", [Scope.SCORE], NOON)
    caller = keys.check(header(made), Scope.SCORE)
    assert (caller.key_id, caller.name, caller.scopes) == (made.key.key_id, "checkout", {Scope.SCORE})


@pytest.mark.parametrize("scope", Scope)
def test_no_scope_implies_another(database, keys, scope):
    made = create_key(database, "a", [scope], NOON)
    assert keys.check(header(made), scope)
    for other in set(Scope) - {scope}:
        with pytest.raises(ScopeError) as refused:
            keys.check(header(made), other)
        assert (refused.value.http_status, refused.value.code) == (403, "scope")
        assert f'scope="{other}"' in refused.value.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer sw_short",
        f"Bearer sw_{'0' * 12}_{'x' * 43}",
        f"Bearer sw_{'0' * 12}_{'x' * 42}é",
        f"sw_{'0' * 12}_{'x' * 43}",
        "Bearer " + "x" * 100_000,
    ],
)
def test_what_is_no_key_is_refused_with_what_to_present(keys, given):
    with pytest.raises(UnauthenticatedError) as refused:
        keys.check(given, Scope.SCORE)
    assert refused.value.http_status == 401
    expected = r'Bearer realm="stallwart"' + (r', error="invalid_token"' if given else "")
    assert refused.value.headers["WWW-Authenticate"] == expected
    assert len(str(refused.value)) < 300


def test_the_right_id_with_another_secret_is_refused_like_an_unknown_id(database, keys):
    made = create_key(database, "a", [Scope.SCORE], NOON)
    wrong = f"Bearer {made.secret[:-1]}{'A' if made.secret[-1] != 'A' else 'B'}"
    unknown = f"Bearer sw_{'0' * 12}_{'x' * 43}"
    said = []
    for given in (wrong, unknown, wrong):
        with pytest.raises(UnauthenticatedError) as refused:
            keys.check(given, Scope.SCORE)
        said.append(str(refused.value))
    assert len(set(said)) == 1
    assert made.secret[-43:] not in said[0]
    assert keys.check(header(made), Scope.SCORE)


def test_memory_answers_without_the_database(database, keys, statements):
    made = create_key(database, "a", [Scope.SCORE], NOON)
    assert keys.cached(header(made), Scope.SCORE) is None
    keys.load(header(made), Scope.SCORE)
    statements.clear()
    assert keys.cached(header(made), Scope.SCORE).name == "a"
    with pytest.raises(ScopeError):
        keys.cached(header(made), Scope.ADMIN)
    assert statements == []


def test_an_unknown_key_is_remembered_too_and_is_known_soon_after_it_is_made(keys, clock, statements):
    unknown = f"Bearer sw_{'0' * 12}_{'x' * 43}"
    for _ in range(3):
        with pytest.raises(UnauthenticatedError):
            keys.check(unknown, Scope.SCORE)
    assert sum("api_keys" in statement for statement in statements) == 1
    clock.now += 5_000
    assert keys.cached(unknown, Scope.SCORE) is None


def test_a_revoked_key_is_refused_within_the_time_that_memory_is_trusted(database, keys, clock):
    made = create_key(database, "a", [Scope.SCORE], NOON)
    keys.check(header(made), Scope.SCORE)
    revoke_key(database, made.key.key_id, NOON)
    clock.now += 4_999
    assert keys.check(header(made), Scope.SCORE)
    clock.now += 1
    with pytest.raises(UnauthenticatedError, match="revoked"):
        keys.check(header(made), Scope.SCORE)


def test_a_clock_that_is_set_back_does_not_keep_a_revoked_key_alive(database, keys, clock):
    made = create_key(database, "a", [Scope.SCORE], NOON)
    keys.check(header(made), Scope.SCORE)
    revoke_key(database, made.key.key_id, NOON)
    clock.now -= 3_600_000
    with pytest.raises(UnauthenticatedError, match="revoked"):
        keys.check(header(made), Scope.SCORE)


def test_a_key_expires_to_the_millisecond_also_in_memory(database, keys, clock):
    made = create_key(database, "a", [Scope.SCORE], NOON, expires_at_ms=NOON + 1_000)
    clock.now += 999
    assert keys.check(header(made), Scope.SCORE)
    clock.now += 1
    with pytest.raises(UnauthenticatedError, match="expired"):
        keys.cached(header(made), Scope.SCORE)


def test_both_keys_work_during_the_overlap_of_a_rotation_and_then_the_new_one(database, keys, clock):
    old = create_key(database, "a", [Scope.SCORE], NOON)
    keys.check(header(old), Scope.SCORE)
    new = rotate_key(database, old.key.key_id, NOON, overlap_ms=60_000)
    for made in (old, new):
        assert keys.check(header(made), Scope.SCORE)
    clock.now += 60_000
    assert keys.check(header(new), Scope.SCORE)
    with pytest.raises(UnauthenticatedError, match="expired"):
        keys.check(header(old), Scope.SCORE)


@pytest.mark.parametrize("per_minute", [1, 7, 60, 333])
def test_a_quota_is_used_up_exactly_and_is_there_again_in_the_next_minute(database, keys, clock, per_minute):
    made = create_key(database, "a", [Scope.SCORE], NOON, per_minute=per_minute)
    clock.now += 12_345
    for _ in range(2):
        for _ in range(per_minute):
            assert keys.check(header(made), Scope.SCORE)
        for _ in range(3):
            with pytest.raises(QuotaError) as refused:
                keys.check(header(made), Scope.SCORE)
        assert refused.value.http_status == 429
        assert refused.value.headers == {"Retry-After": "48"}
        clock.now += 60_000


def test_a_used_up_quota_is_refused_from_memory(database, keys, statements):
    made = create_key(database, "a", [Scope.SCORE], NOON, per_minute=1)
    keys.check(header(made), Scope.SCORE)
    with pytest.raises(QuotaError):
        keys.check(header(made), Scope.SCORE)
    statements.clear()
    for _ in range(5):
        with pytest.raises(QuotaError):
            keys.cached(header(made), Scope.SCORE)
    assert statements == []


def test_a_refusal_for_want_of_scope_spends_nothing(database, keys):
    made = create_key(database, "a", [Scope.SCORE], NOON, per_minute=1)
    for _ in range(3):
        with pytest.raises(ScopeError):
            keys.check(header(made), Scope.ADMIN)
    assert keys.check(header(made), Scope.SCORE)


def test_two_processes_share_one_quota(database, clock):
    made = create_key(database, "a", [Scope.SCORE], NOON, per_minute=100)
    both = [Authenticator(database, SETTINGS, clock) for _ in range(2)]
    granted = 0
    for turn in range(300):
        try:
            both[turn % 2].check(header(made), Scope.SCORE)
            granted += 1
        except QuotaError:
            pass
    assert granted == 100


def test_many_threads_share_one_quota_and_leave_nothing_of_it(database, keys):
    made = create_key(database, "a", [Scope.SCORE], NOON, per_minute=150)

    def ask(_):
        try:
            return bool(keys.check(header(made), Scope.SCORE))
        except QuotaError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(400))) == 150


def test_made_up_ids_push_out_no_real_key(database, keys, statements, monkeypatch):
    monkeypatch.setattr("stallwart.serving.keys._REMEMBERED", 5)
    made = create_key(database, "a", [Scope.SCORE], NOON)
    keys.check(header(made), Scope.SCORE)
    for number in range(20):
        with pytest.raises(UnauthenticatedError):
            keys.check(f"Bearer sw_{number:012x}_{'x' * 43}", Scope.SCORE)
    assert keys.cached(header(made), Scope.SCORE)
    statements.clear()
    with pytest.raises(UnauthenticatedError):
        keys.check(f"Bearer sw_{0:012x}_{'x' * 43}", Scope.SCORE)
    assert statements, "the oldest made-up id was forgotten, so memory stays bounded"


def test_where_nothing_is_trusted_each_request_asks(database, clock):
    keys = Authenticator(database, Settings(key_cache_seconds=0), clock)
    made = create_key(database, "a", [Scope.SCORE], NOON, per_minute=2)
    assert keys.cached(header(made), Scope.SCORE) is None
    assert keys.check(header(made), Scope.SCORE)
    assert keys.check(header(made), Scope.SCORE)
    with pytest.raises(QuotaError):
        keys.check(header(made), Scope.SCORE)


def test_a_database_without_tables_is_an_error_and_no_way_in(tmp_path, clock):
    database = open_database(f"sqlite:///{tmp_path}/empty.sqlite", SETTINGS)
    keys = Authenticator(database, SETTINGS, clock)
    with pytest.raises(StoreError):
        keys.check(f"Bearer sw_{'0' * 12}_{'x' * 43}", Scope.SCORE)
    database.dispose()


def test_insecure_local_lets_everyone_in_with_all_scopes(database, clock):
    keys = Authenticator(database, SETTINGS, clock, insecure_local=True)
    assert keys.cached(None, Scope.ADMIN) is LOCAL
    assert keys.check("nonsense", Scope.SCORE) is LOCAL
    assert LOCAL.scopes == frozenset(Scope)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_insecure_local_takes_loopback(host):
    require_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "", "127.1", "localhost.evil.com"]
)
def test_insecure_local_takes_nothing_else(host):
    with pytest.raises(ConfigError, match="loopback"):
        require_loopback(host)


SERVE = """
import sys
from stallwart.core.errors import QuotaError
from stallwart.core.settings import Settings
from stallwart.serving.keys import Authenticator
from stallwart.store.database import open_database
from stallwart.store.keys import Scope
keys = Authenticator(open_database(sys.argv[1], Settings()), Settings(), lambda: 1_800_000_000_000)
sys.stdin.readline()
granted = 0
for _ in range(400):
    try:
        granted += bool(keys.check("Bearer " + sys.argv[2], Scope.SCORE))
    except QuotaError:
        pass
print(granted)
"""


@pytest.mark.slow
def test_processes_that_serve_at_once_grant_exactly_the_quota(database, database_url):
    made = create_key(database, "a", [Scope.SCORE], NOON, per_minute=500)
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SERVE, database_url, made.secret], stdin=pipe, stdout=pipe, text=True
        )
        for _ in range(3)
    ]
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    granted = [int(process.communicate(timeout=60)[0]) for process in started]
    assert sum(granted) == 500
