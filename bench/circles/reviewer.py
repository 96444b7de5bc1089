"""Somebody at the page of review who knows every label: takes tasks, answers and gives back what is left."""

import re
from collections.abc import Callable

import httpx

_TASK = re.compile(r'data-task="([^"]+)"')
_JUDGED = re.compile(r'name="judged" value="([^"]+)"')
_CSRF = re.compile(r'<meta name="csrf" content="([^"]*)"')
_FORM = re.compile(r'name="csrf" value="([^"]+)"')


class Reviewer:
    """One person.

    Args:
        url: of the review pages.
        name: of their account.
        password: of it.
        says: task id -> the label of its listing.
    """

    def __init__(self, url: str, name: str, password: str, says: Callable[[str], str]):
        self._url, self._name, self._password, self._says = url, name, password, says

    def work(self, most: int) -> int:
        """Sit down, answer so many tasks at most, and get up; how many there were."""
        answered = 0
        with httpx.Client(base_url=self._url, timeout=60, headers={"accept": "text/html"}) as browser:
            self._sign_in(browser)
            page = _checked(browser.get("/tasks"), 200)
            browser.headers["x-csrf-token"] = _found(_CSRF, page)
            browser.headers["hx-request"] = "true"
            while answered < most and (task := _TASK.search(page)):
                page = _checked(
                    browser.post(f"/tasks/{task[1]}/verdict", data=self._answer(task[1], page)), 200, 204
                )
                answered += 1
            if task := _TASK.search(page):
                _checked(browser.post(f"/tasks/{task[1]}/release"), 204, 303)
        return answered

    def _sign_in(self, browser: httpx.Client) -> None:
        token = _found(_FORM, _checked(browser.get("/sign-in"), 200))
        form = {"csrf": token, "name": self._name, "password": self._password, "next": ""}
        _checked(browser.post("/sign-in", data=form), 303)

    def _answer(self, task: str, page: str) -> dict[str, str | list[str]]:
        judged, label = _JUDGED.findall(page), self._says(task)
        if label in judged:
            return {"judged": judged, "policy": [label]}
        return {"judged": judged, "allow": "1"}


def _checked(answer: httpx.Response, *codes: int) -> str:
    if answer.status_code not in codes:
        raise RuntimeError(f"{answer.request.url}: {answer.status_code} {answer.text[:500]}")
    return answer.text


def _found(pattern: re.Pattern[str], page: str) -> str:
    found = pattern.search(page)
    if found is None:
        raise RuntimeError(f"no {pattern.pattern} in a page of {len(page)} characters")
    return found[1]
