"""Topics and what is in them: so far the registry of their schemas."""

__all__: list[str] = []
