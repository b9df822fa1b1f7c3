"""What can be wrong with an image and its label map, as types, so that nobody has to tell them apart by their text.

Each can be made from its message alone: torch's loader rebuilds the errors of its worker processes that way, and would
turn one with further required arguments into a RuntimeError.
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
