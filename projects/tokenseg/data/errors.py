"""Exceptions for faulty images and label maps, so that callers need not parse messages to tell faults apart.

Each exception can be constructed from its message alone. torch's data loader recreates the errors of its workers in
this way, and would replace one with further required arguments by a RuntimeError.
"""


class UnreadableImage(ValueError):
    """The image file is missing, damaged, or no image."""


class UnsupportedImage(ValueError):
    """The image has another depth, other bands or more pages than the config tells, and would be misread."""


class UnreadableLabel(ValueError):
    """The label file is missing, damaged, or no image."""


class LabelHasColours(ValueError):
    """The label map has several channels instead of one id a pixel."""


class UnknownColours(ValueError):
    """The label map has colours that the list of colours lacks, or none where there should be some."""


class IdsOutOfRange(ValueError):
    """The label map holds ids that are neither a class nor ignored, or that its id map does not name."""


class SizesDiffer(ValueError):
    """An image and its label map have different sizes.

    Attributes:
        label_size: (height, width) of the label map in pixels; None where the error came from a worker process.
    """

    def __init__(self, message: str, *, label_size: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.label_size = label_size
