"""Exceptions for faulty images and label maps, so that callers can distinguish faults without parsing messages.

Each exception can be constructed from its message alone, since torch's data loader recreates the exceptions of its
workers in this way. It replaces exceptions that require further arguments by a RuntimeError.
"""


class UnreadableImage(ValueError):
    """The image file is missing, damaged, or not an image."""


class UnsupportedImage(ValueError):
    """The image differs in bit depth, bands or number of pages from what the config states, and would be misread."""


class UnreadableLabel(ValueError):
    """The label file is missing, damaged, or not an image."""


class LabelHasColours(ValueError):
    """The label map has several channels instead of one id per pixel."""


class UnknownColours(ValueError):
    """The label map has colours that the list of class colours lacks, or is not a colour image at all."""


class IdsOutOfRange(ValueError):
    """The label map contains ids that are neither a class nor ignored, or that its id map does not list."""


class SizesDiffer(ValueError):
    """An image and its label map have different sizes.

    Attributes:
        label_size: The (height, width) of the label map in pixels; None if the error came from a worker process.
    """

    def __init__(self, message: str, *, label_size: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.label_size = label_size
