"""What stops a search."""


class SearchError(ValueError):
    """A search that cannot be started, gone on with or finished as it was asked for."""
