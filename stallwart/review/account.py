"""My account: who I am here, where I am signed in, and another password."""

from collections.abc import Sequence

from stallwart.core.errors import DataError
from stallwart.pages.roles import EVERYBODY
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.store import sessions
from stallwart.store.database import reading, writing
from stallwart.store.passwords import Passwords
from stallwart.store.people import set_password


class AccountSection:
    """Pages of everybody about themselves.

    Args:
        passwords: hashes a new one, and verifies the one of now.
    """

    title = "Account"

    def __init__(self, passwords: Passwords):
        self._passwords = passwords

    def routes(self) -> Sequence[Route]:
        """The account, another password, the end of sessions."""
        return (
            Route("/account", "GET", self.account, EVERYBODY, nav="My account"),
            Route("/account/password", "POST", self.password, EVERYBODY),
            Route("/account/sessions", "POST", self.end, EVERYBODY),
        )

    def account(self, ask: Ask) -> Page:
        """Who I am, and where I am signed in."""
        with reading(ask.database) as connection:
            live = sessions.list_sessions(connection, ask.user, ask.settings, ask.now_ms)
        return Page("account.html", {"sessions": live, "mine": ask.session.session_id})

    def password(self, ask: Ask) -> Answer:
        """Another password; all sessions end, this one too.

        Raises:
            SignInError: the password of now is wrong.
            DataError: the new one cannot be taken, or was typed in two ways.
        """
        new = ask.form.get("new")
        if new != ask.form.get("again"):
            raise DataError("the new password was typed in two ways; go back and type it again")
        sessions.confirm(
            ask.database, self._passwords, ask.user.name, ask.form.get("now"), ask.address, ask.now_ms
        )
        set_password(
            ask.database, self._passwords, ask.user.name, new, who=ask.user.name, why="their own wish",
            now_ms=ask.now_ms,
        )  # fmt: skip
        return Answer.redirect("/sign-in")

    def end(self, ask: Ask) -> Answer:
        """End one of my sessions, or all others.

        Raises:
            NotFoundError: I have no such session.
        """
        wanted = ask.form.get("session")
        with writing(ask.database) as connection:
            live = sessions.list_sessions(connection, ask.user, ask.settings, ask.now_ms)
            for one in live:
                others = not wanted and one.session_id != ask.session.session_id
                if others or one.session_id == wanted:
                    sessions.sign_out(connection, one, ask.now_ms)
        return Answer.redirect("/account", said="Signed out there.")
