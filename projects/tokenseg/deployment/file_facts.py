"""The facts about a model that an exported file stores, so that it can be used without config and weights."""

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class FileFacts:
    """Facts of an exported model.

    Attributes:
        class_names: The names of the class ids 0, 1, ...
        class_colors: The colour of each class in pictures, (red, green, blue) from 0 to 255.
        image_format: The order of the image's channels, `RGB` or `BGR`.
        pixel_mean: The mean of each channel, in grey levels, which the model subtracts; also the colour of padding.
        pixel_std: The standard deviation of each channel, by which the model then divides.
        size: The size (height, width) in pixels of the images that the file accepts; None for any size.
        divisor: The number of pixels to whose multiples the model pads both sides.
        output_kind: `ids` or `scores`; see `WholePass`.
        probabilities: Whether the scores are probabilities; otherwise they are logits.
        short_side: The length in pixels to which the short side is resized in evaluation; None for no resizing.
        long_side: The upper bound in pixels of the long side when resizing; None for no bound.
        source: A description of the config, weights and software versions from which the file was made.
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
        """Convert the facts to JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | None, *, path: str) -> "FileFacts":
        """Read the facts of a file.

        Args:
            text: The text from `to_json` that the file holds; None if it holds none.
            path: The path of the file, for the error message.

        Raises:
            ValueError: The text was not written by `to_json`.
        """
        try:
            return cls(**json.loads(text or "{}"))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"'{path}' does not describe the classes, colours and sizes of its model ({error}); wanted a file that "
                "tools/export.py has written"
            ) from error
