"""Files that are replaced in one move: a reader finds the old one or the whole new one."""

import os


class replacing:
    """Context: yields a path to write to, which replaces `path` in one move when the block ends well."""

    def __init__(self, path: str) -> None:
        self.path, self.unfinished = path, f"{path}.unfinished"

    def __enter__(self) -> str:
        return self.unfinished

    def __exit__(self, error: type | None, *_: object) -> None:
        if error is None:
            with open(self.unfinished, "rb") as file:
                os.fsync(file.fileno())
            os.replace(self.unfinished, self.path)
        elif os.path.exists(self.unfinished):
            os.remove(self.unfinished)
