"""What an exported file tells of its model, so that it can be used without config and weights."""

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class FileFacts:
    """Facts of an exported model.

    Attributes:
        class_names: The names of the class ids 0, 1, ...
        class_colors: Their colours in pictures, (red, green, blue) of 0 to 255 each.
        image_format: The order of the channels of the images, `RGB` or `BGR`.
        pixel_mean: What the model subtracts from each channel, in grey levels. A padded image has this colour there.
        pixel_std: What it divides each channel by after that.
        size: (height, width) in pixels of the images that the file takes; None for any.
        divisor: What the model pads both sides to multiples of, in pixels.
        output_kind: `ids` or `scores`, see `WholePass`.
        probabilities: Whether scores are probabilities; else they are logits.
        short_side: The length of the short side that images are resized to in tests, in pixels; None for no resize.
        long_side: The bound on the long side at that, in pixels; None for no bound.
        source: What the file was made of and by, in words.
    """

    class_names: list[str]
    class_colors: list[list[int]]
    image_format: str
    pixel_mean: list[float]
    pixel_std: list[float]
    size: list[int] | None
    divisor: int
    output_kind: str
    probabilities: bool
    short_side: float | None
    long_side: float | None
    source: str

    def to_json(self) -> str:
        """The facts as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | None, *, path: str) -> "FileFacts":
        """The facts of a file.

        Args:
            text: What `to_json` gave and the file holds; None if it holds nothing of the kind.
            path: The path of the file, for the message.

        Raises:
            ValueError: The text is none of `to_json`'s.
        """
        try:
            return cls(**json.loads(text or "{}"))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"'{path}' does not tell what classes, colours and sizes its model has ({error}); wanted a file that "
                "tools/export.py has written"
            ) from error
