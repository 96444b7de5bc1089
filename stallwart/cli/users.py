"""`stallwart users`: the people who review, and what they may."""

import getpass
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from stallwart.cli import shared
from stallwart.cli.database import moment, ready_database, wall_ms
from stallwart.core.errors import ConfigError

if TYPE_CHECKING:
    from stallwart.store.people import Role, User

app = typer.Typer(
    name="users",
    help="Accounts of the people who review: who may sign in, as what, and what they read.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Name of the account, in whatever case.", show_default=False)]
RoleName = Annotated[str, typer.Option("--role", help="reviewer, lead, engineer or admin.")]
FromStdin = Annotated[
    bool,
    typer.Option(
        "--password-stdin", help="Read the password from stdin, one line; it is asked for if not given."
    ),
]
Skills = Annotated[
    list[str] | None,
    typer.Option("--skill", help="A policy that they read; repeat it for several, all if not given."),
]
Languages = Annotated[
    list[str] | None,
    typer.Option(
        "--language", help="A language that they read, as de; repeat it for several, all if not given."
    ),
]


@app.command()
def add(
    name: Name,
    role: RoleName = "reviewer",
    skill: Skills = None,
    language: Languages = None,
    password_stdin: FromStdin = False,
    why: shared.Why = "a new account",
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Make an account; its password is asked for twice and shown nowhere.

    Example:
        stallwart users add rita --role lead --skill weapons --skill tobacco --language de
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.passwords import Passwords
        from stallwart.store.people import add_user

        wanted = _role(role)
        user = add_user(
            engine, Passwords(), name, _password(name, password_stdin), wanted, skills=skill,
            languages=language, who=shared.operator(who), why=why, now_ms=wall_ms(),
        )  # fmt: skip
    _print(user, f"{user.name} can sign in as {user.role}", as_json)


@app.command("list")
def list_(as_json: shared.AsJson = False) -> None:
    """Show all accounts, the disabled and the locked ones too.

    Example:
        stallwart users list --json
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.attempts import locked_until
        from stallwart.store.database import reading
        from stallwart.store.people import list_users

        with reading(engine) as connection:
            found = [(user, locked_until(connection, user.user_id)) for user in list_users(connection)]
    facts = [_facts(user, until) for user, until in found]
    if as_json:
        shared.print_json(facts)
        return
    table = Table("name", "role", "policies", "languages", "state")
    for one in facts:
        table.add_row(one["name"], one["role"], _many(one["skills"]), _many(one["languages"]), one["state"])
    shared.console().print(table if facts else "no accounts; see: stallwart users add --help")


@app.command()
def role(
    name: Name,
    role: Annotated[str, typer.Argument(help="reviewer, lead, engineer or admin.", show_default=False)],
    why: shared.Why,
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Give an account another role; whoever is signed in has it with their next request.

    Example:
        stallwart users role rita admin --why "runs the review from now on"
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.database import writing
        from stallwart.store.people import set_role

        wanted, by = _role(role), shared.operator(who)
        with writing(engine) as connection:
            user = set_role(connection, name, wanted, who=by, why=why, now_ms=wall_ms())
    _print(user, f"{user.name} is {user.role}", as_json)


@app.command()
def reading(
    name: Name,
    why: shared.Why,
    skill: Skills = None,
    language: Languages = None,
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Say which policies and languages a person reads, instead of those of before.

    Example:
        stallwart users reading rita --skill weapons --language de --language fr --why "was trained"
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.database import writing
        from stallwart.store.people import set_reading

        by = shared.operator(who)
        with writing(engine) as connection:
            user = set_reading(
                connection, name, skill or None, language or None, who=by, why=why, now_ms=wall_ms()
            )
    facts = _facts(user)
    _print(user, f"{user.name} reads {_many(facts['skills'])} in {_many(facts['languages'])}", as_json)


@app.command()
def disable(name: Name, why: shared.Why, who: shared.Who = None, as_json: shared.AsJson = False) -> None:
    """Let nobody sign in with an account; its sessions end at once, its verdicts stay.

    Example:
        stallwart users disable rita --why "left the company"
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.database import writing
        from stallwart.store.people import disable as disable_user

        by = shared.operator(who)
        with writing(engine) as connection:
            user = disable_user(connection, name, who=by, why=why, now_ms=wall_ms())
    _print(user, f"{user.name} is disabled, and signed out everywhere", as_json)


@app.command()
def enable(name: Name, why: shared.Why, who: shared.Who = None, as_json: shared.AsJson = False) -> None:
    """Let the owner of a disabled account sign in again.

    Example:
        stallwart users enable rita --why "is back"
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.database import writing
        from stallwart.store.people import enable as enable_user

        by = shared.operator(who)
        with writing(engine) as connection:
            user = enable_user(connection, name, who=by, why=why, now_ms=wall_ms())
    _print(user, f"{user.name} can sign in again as {user.role}", as_json)


@app.command()
def password(
    name: Name,
    password_stdin: FromStdin = False,
    why: shared.Why = "a new password",
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Set a new password; it is asked for twice, and all sessions of the account end.

    Example:
        stallwart users password rita
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.database import reading
        from stallwart.store.passwords import Passwords
        from stallwart.store.people import find_user, set_password

        with reading(engine) as connection:
            found = find_user(connection, name)
        user = set_password(
            engine, Passwords(), found.name, _password(found.name, password_stdin),
            who=shared.operator(who), why=why, now_ms=wall_ms(),
        )  # fmt: skip
    _print(user, f"{user.name} has a new password, and is signed out everywhere", as_json)


@app.command()
def unlock(
    name: Name,
    why: shared.Why = "asked for it",
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Let a person try to sign in again at once, after too many wrong passwords.

    Example:
        stallwart users unlock rita
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store import sessions
        from stallwart.store.database import writing
        from stallwart.store.people import find_user

        by = shared.operator(who)
        with writing(engine) as connection:
            user = find_user(connection, name)
            sessions.unlock(connection, user, who=by, why=why, now_ms=wall_ms())
    _print(user, f"{user.name} may try again", as_json)


def _role(name: str) -> "Role":
    from stallwart.store.people import Role

    if name not in set(Role):
        raise ConfigError(f"no role {name!r}; there are: {', '.join(Role)}")
    return Role(name)


def _password(name: str, from_stdin: bool) -> str:
    """As it was typed, or a line of stdin; never an argument, which others on the machine see."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise ConfigError("there is nobody to ask for the password; send it with --password-stdin")
    first = getpass.getpass(f"New password of {name}: ")
    if first != getpass.getpass("The same again: "):
        raise ConfigError("the two passwords differ; nothing was changed")
    return first


def _print(user: "User", said: str, as_json: bool) -> None:
    if as_json:
        shared.print_json(_facts(user))
    else:
        print(said)  # noqa: T201


def _facts(user: "User", locked_until_ms: int = 0) -> dict[str, Any]:
    locked = locked_until_ms > wall_ms()
    return {
        "user_id": user.user_id,
        "name": user.name,
        "role": user.role.value,
        "skills": None if user.skills is None else sorted(user.skills),
        "languages": None if user.languages is None else sorted(user.languages),
        "created": moment(user.created_at_ms),
        "state": "locked" if locked and user.state == "active" else user.state,
        "locked_until": moment(locked_until_ms) if locked else None,
    }


def _many(names: list[str] | None) -> str:
    return "all" if names is None else ", ".join(names) or "none"
