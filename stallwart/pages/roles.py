"""Who may do what: the one table of roles. Roles are no ladder: an engineer judges no listing.

A route names one of these sets. What the people who train a model say of its decisions would measure nothing,
so they read no tasks; what leads and admins decide about people and settings, reviewers do not see.
"""

from stallwart.store.people import Role

EVERYBODY = frozenset(Role)
"""Their own account, sessions and password; the start page."""
JUDGES = frozenset({Role.REVIEWER, Role.LEAD, Role.ADMIN})
"""Take tasks, answer, undo, skip, escalate; open a listing and search for others; act on several at once,
each role up to its own limit (settings `bulk_limit_reviewers` and `bulk_limit_leads`)."""
LEADS = frozenset({Role.LEAD, Role.ADMIN})
"""See the queue, people's pace, label quality and who looked at what; undo what others did to many listings;
take things out of those known to be bad."""
MEASURERS = frozenset({Role.LEAD, Role.ENGINEER, Role.ADMIN})
"""See estimates, online figures, drift, novelty and alerts; see, withdraw and let policies earn rights."""
OPERATORS = frozenset({Role.ENGINEER, Role.ADMIN})
"""Acknowledge alerts. Policies and retraining are theirs too, in a terminal."""
ADMINS = frozenset({Role.ADMIN})
"""Accounts, and the erasure of a seller or a listing."""

TABLE: dict[str, frozenset[Role]] = {
    "their own account, sessions and password": EVERYBODY,
    "take tasks, answer, undo, skip, escalate; open and search listings, act on several at once": JUDGES,
    "the queue, people's pace, label quality, who looked at what; undo acts of others": LEADS,
    "estimates, online figures, drift, novelty, alerts, certificates": MEASURERS,
    "acknowledge alerts": OPERATORS,
    "accounts; erase a seller or a listing": ADMINS,
}
"""The same in words, for the page of accounts and the guide."""
