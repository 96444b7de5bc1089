"""For admins: accounts, what each may do and reads, and their sessions. Each change is in the audit log."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection

from stallwart.core.errors import ConflictError, DataError, StallwartError
from stallwart.pages.roles import ADMINS, TABLE
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.review.policies import Policies
from stallwart.store import people, sessions
from stallwart.store.attempts import locked_until
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.passwords import Passwords
from stallwart.store.people import Role, User

_WHY = "changed on the page of accounts"


class PeopleSection:
    """Pages of admins about accounts.

    Args:
        passwords: hashes new ones.
        policies: the rulebook, for what people may read.
    """

    title = "People"

    def __init__(self, passwords: Passwords, policies: Policies):
        self._passwords, self._policies = passwords, policies

    def routes(self) -> Sequence[Route]:
        """Accounts and their changes."""
        changes = (
            ("role", self.role),
            ("reading", self.reading),
            ("disable", self.disable),
            ("enable", self.enable),
            ("unlock", self.unlock),
            ("sign-out", self.sign_out),
            ("password", self.password),
        )
        return (
            Route("/people", "GET", self.accounts, ADMINS, nav="Accounts"),
            Route("/people", "POST", self.add, ADMINS),
            Route("/people/{name}", "GET", self.account, ADMINS),
            *(Route(f"/people/{{name}}/{act}", "POST", does, ADMINS) for act, does in changes),
        )

    def accounts(self, ask: Ask) -> Page:
        """All accounts, and who may do what."""
        return self._accounts(ask)

    def _accounts(self, ask: Ask, refused: StallwartError | None = None) -> Page:
        with store_errors("accounts cannot be read"), reading(ask.database) as connection:
            users = people.list_users(connection)
            locked = {user.user_id: locked_until(connection, user.user_id) for user in users}
        context = {
            "users": users,
            "locked": locked,
            "roles": list(Role),
            "table": TABLE,
            "refused": refused,
            "name": ask.form.get("name") if refused else "",
            "role": ask.form.get("role") if refused else "",
        }
        return Page("people.html", context, status=refused.http_status if refused else 200)

    def account(self, ask: Ask) -> Page:
        """One account.

        Raises:
            NotFoundError: there is none of this name.
        """
        with store_errors("the account cannot be read"), reading(ask.database) as connection:
            user = people.find_user(connection, ask.path["name"])
            live = sessions.list_sessions(connection, user, ask.settings, ask.now_ms)
            until = locked_until(connection, user.user_id)
        known = sorted({*self._policies.ids, *(user.skills or ())})
        context = {
            "user": user,
            "sessions": live,
            "locked": until > ask.now_ms,
            "roles": list(Role),
            "known": known,
            "titles": {one: self._policies.title(one) for one in known},
        }
        return Page("person.html", context)

    def add(self, ask: Ask) -> Page | Answer:
        """A new account; where the name or the password cannot be taken, the form again, which says why."""
        try:
            user = people.add_user(
                ask.database, self._passwords, ask.form.get("name"), ask.form.get("password"), _role(ask),
                who=ask.user.name, why="added on the page of accounts", now_ms=ask.now_ms,
            )  # fmt: skip
        except (DataError, ConflictError) as err:
            return self._accounts(ask, err)
        return _to(user, f"{user.name} can sign in as {user.role}.")

    def role(self, ask: Ask) -> Answer:
        """Another role, at once."""
        wanted = _role(ask)
        user = self._change(ask, lambda to: people.set_role(to, ask.path["name"], wanted, **_by(ask)))
        return _to(user, f"{user.name} is {user.role} now.")

    def reading(self, ask: Ask) -> Answer:
        """Other policies and languages; all of them where nothing is named."""
        skills = None if ask.form.get("all") == "1" else ask.form.all("skill")
        languages = ask.form.get("languages").replace(",", " ").split() or None
        user = self._change(
            ask, lambda to: people.set_reading(to, ask.path["name"], skills, languages, **_by(ask))
        )
        return _to(user, f"{user.name} reads this from now on.")

    def disable(self, ask: Ask) -> Answer:
        """Nobody signs in with it any more."""
        user = self._change(ask, lambda to: people.disable(to, ask.path["name"], **_by(ask)))
        return _to(user, f"{user.name} is disabled, and signed out everywhere.")

    def enable(self, ask: Ask) -> Answer:
        """Its owner can sign in again."""
        user = self._change(ask, lambda to: people.enable(to, ask.path["name"], **_by(ask)))
        return _to(user, f"{user.name} can sign in again.")

    def unlock(self, ask: Ask) -> Answer:
        """Wrong passwords are forgotten."""

        def change(connection: Connection) -> User:
            user = people.find_user(connection, ask.path["name"])
            sessions.unlock(connection, user, **_by(ask))
            return user

        user = self._change(ask, change)
        return _to(user, f"{user.name} may try again at once.")

    def sign_out(self, ask: Ask) -> Answer:
        """All sessions of the person end."""

        def change(connection: Connection) -> User:
            user = people.find_user(connection, ask.path["name"])
            sessions.revoke(connection, user, **_by(ask))
            return user

        user = self._change(ask, change)
        return _to(user, f"{user.name} is signed out everywhere.")

    def password(self, ask: Ask) -> Answer:
        """Another password, which the admin tells its owner, who then sets their own."""
        with store_errors("the account cannot be read"), reading(ask.database) as connection:
            found = people.find_user(connection, ask.path["name"])
        user = people.set_password(
            ask.database, self._passwords, found.name, ask.form.get("password"), **_by(ask)
        )
        return _to(user, f"{user.name} has a new password, and is signed out everywhere.")

    def _change(self, ask: Ask, change: Callable[[Connection], User]) -> User:
        with store_errors("the account could not be changed"), writing(ask.database) as connection:
            return change(connection)


def _by(ask: Ask) -> dict[str, Any]:
    return {"who": ask.user.name, "why": ask.form.get("why").strip() or _WHY, "now_ms": ask.now_ms}


def _role(ask: Ask) -> Role:
    name = ask.form.get("role")
    if name not in set(Role):
        raise DataError(f"no role {name[:20]!r}; there are: {', '.join(Role)}")
    return Role(name)


def _to(user: User, said: str) -> Answer:
    return Answer.redirect(f"/people/{quote(user.name, safe='')}", said=said)
