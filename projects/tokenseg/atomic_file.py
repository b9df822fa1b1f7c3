"""Replaces files in one atomic move: a reader finds either the old file or the complete new one."""

import os


class replacing:
    """A context manager that gives a temporary path, and moves the file there to its final path after the block.

    If the block raises an error, the temporary file is removed, and a file at the final path stays as it is.
    """

    def __init__(self, path: str) -> None:
        """
        Args:
            path: The final path.
        """
        self.path, self.unfinished = path, f"{path}.unfinished"

    def __enter__(self) -> str:
        return self.unfinished

    def __exit__(self, error: type | None, *_: object) -> None:
        if error is None:
            with open(self.unfinished, "rb") as file:
                os.fsync(file.fileno())  # otherwise a power failure after the move could leave an empty file
            os.replace(self.unfinished, self.path)
        elif os.path.exists(self.unfinished):
            os.remove(self.unfinished)
