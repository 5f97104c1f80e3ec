"""Secrets of the environment, kept out of whatever is written or shown.

A key gets into places nobody thought of: a server repeats it in its answer, an exception shows the
request it was in. So nothing is left to whoever handles a key: all text that is stored or shown
passes here.
"""

import os
import re

HIDDEN = "***"
_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_SHORTEST = 8
"""Characters of a value below which it is no secret, and might stand anywhere."""
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s\"']+:[^/@\s\"']+(?=@)")


def scrubbed(text: str) -> str:
    """`text` without values of environment variables that are named like secrets (…_KEY, …_TOKEN),
    and without users and passwords in URLs."""
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    return _USER_IN_URL.sub(HIDDEN, text) if "://" in text else text


def _secrets() -> list[str]:
    """Longest first: one may hold another."""
    found = {value for name, value in os.environ.items() if _NAMES.search(name)}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)
