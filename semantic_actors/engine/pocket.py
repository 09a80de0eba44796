"""The model that ships with the package, so that everything runs offline."""

from importlib import resources
from pathlib import Path


def pocket_path() -> Path:
    """Folder of the bundled pocket model, in mlx-lm's format."""
    return Path(str(resources.files(__package__) / "pocket"))
