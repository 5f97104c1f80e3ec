"""A library that cannot be imported."""

import no_such_library_at_all  # noqa: F401
