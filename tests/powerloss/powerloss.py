"""Power loss for real processes: builds the shim, and puts durable images in place of files."""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SHIM = Path(__file__).parent / "shim.c"


@dataclass(frozen=True, slots=True)
class Disk:
    """Files below `root`, whose durable images are below `shadow`."""

    root: Path
    shadow: Path
    library: Path

    @staticmethod
    def under(root: Path, scratch: Path) -> "Disk":
        """Compile the shim (needs a C compiler, `cc`) and begin with empty images."""
        scratch.mkdir(parents=True, exist_ok=True)
        library = scratch / "powerloss.so"
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"],
            check=True,
        )
        return Disk(root.resolve(), (scratch / "images").resolve(), library.resolve())

    def environment(self) -> Mapping[str, str]:
        """For the processes that live on this disk."""
        return {
            "LD_PRELOAD": str(self.library),
            "POWERLOSS_ROOT": str(self.root),
            "POWERLOSS_SHADOW": str(self.shadow),
        }

    def keep(self, folders: Iterable[Path]) -> None:
        """What is in `folders` now is durable: it was there before the processes."""
        for folder in folders:
            image = self._image(folder)
            shutil.rmtree(image, ignore_errors=True)
            shutil.copytree(folder, image)

    def lose_power(self, folders: Iterable[Path]) -> None:
        """All processes are dead: what was not synced in `folders` is gone."""
        for folder in folders:
            shutil.rmtree(folder)
            image = self._image(folder)
            if image.exists():
                shutil.copytree(image, folder)
            else:
                folder.mkdir()

    def _image(self, folder: Path) -> Path:
        return self.shadow / folder.resolve().relative_to(self.root)
