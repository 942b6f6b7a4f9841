"""Records of changes and the registry of their schemas: what stands between batches and a bus."""

from .notations import NOTATIONS, notation
from .registrar import Naming, Registrar, subject_of

__all__ = ["NOTATIONS", "Naming", "Registrar", "notation", "subject_of"]
