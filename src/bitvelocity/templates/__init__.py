"""Projects to start from: `bitvelocity init` copies one, `bitvelocity demo` runs it on real data."""

from .projects import PROJECTS, copy_project, project_folder

__all__ = ["PROJECTS", "copy_project", "project_folder"]
