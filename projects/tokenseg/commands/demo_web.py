"""The part of the command `demo` for --web: a web page on which a user explores images by clicks.

The page needs the package `gradio`, which is optional and therefore not imported at the top of this file.
"""

import html
import importlib.util
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ..explorer import Explorer, Look, answers
from ..predictor import Predictor

MAX_UPLOAD = "20 MB"
_HOW = "Click into the picture, or choose from the list."
_LEGEND = """The first panel shows the mask of what was chosen. For a segmentor, the next panels show the map of the
class at every stage, in which yellow is the highest value. The last panels show the regions of the tokens that
contribute most. After a click, the percentage in a token's caption is its share of the pixel; after a choice from the
list, it is the part of the token's region that lies on what was chosen. Images are reduced to at most {} pixels
on the longer side."""
_STYLE = """
.gradio-container { max-width: 1400px !important; }
footer { display: none !important; }
.grid-wrap { max-height: none !important; height: auto !important; }
@media (max-width: 600px) { .grid-container { grid-template-columns: repeat(2, 1fr) !important; } }
"""


def check_gradio() -> None:
    """Raise a ValueError, before a model is loaded, if the package `gradio` is not installed."""
    if importlib.util.find_spec("gradio") is None:
        raise ValueError("--web needs the package gradio, which is not installed: pip install 'tokenseg[web]'")


def serve(predictor: Predictor, *, confidence_threshold: float, host: str, port: int | None) -> None:
    """Serve the page until Ctrl-C.

    Args:
        predictor: The predictor.
        confidence_threshold: The initial lowest score of instances to draw, which a slider on the page can change.
        host: The address at which the page is served.
        port: The port; None for any free port.
    """
    with started(predictor, confidence_threshold=confidence_threshold, host=host, port=port) as address:
        if host not in ("127.0.0.1", "localhost", "::1"):
            print(f"warning: anyone who can reach {host} can use this page")
        print(f"Open {address} in a browser; Ctrl-C stops the page", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped")


@contextmanager
def started(
    predictor: Predictor, *, confidence_threshold: float = 0.5, host: str = "127.0.0.1", port: int | None = None
) -> Iterator[str]:
    """Serve the page in the background during a `with` block; see `serve` for the arguments.

    Yields:
        The address of the page.
    """
    with tempfile.TemporaryDirectory(prefix="tokenseg-web-") as folder:
        # Gradio reads these when it is imported. They turn off its usage statistics, and put uploaded files into the
        # folder that is deleted with the page.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=folder)
        gradio = importlib.import_module("gradio")
        page = build_page(gradio, Explorer(predictor), confidence_threshold=confidence_threshold)
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MAX_UPLOAD.replace(" ", "").lower(),
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            state_session_capacity=20,
            css=_STYLE,
        )
        try:
            yield address
        finally:
            page.close(verbose=False)


def build_page(gradio: Any, explorer: Explorer, *, confidence_threshold: float) -> Any:
    """Build the page, as Gradio's `Blocks`.

    Args:
        gradio: The imported package.
        explorer: The explorer that computes the answers.
        confidence_threshold: The initial lowest score of instances to draw.
    """
    detector = explorer.predictor.task == "instances"
    replies = Replies(gradio, explorer)
    with gradio.Blocks(title="TokenSeg", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        seen = gradio.State(None, time_to_live=3600)
        gradio.Markdown("# TokenSeg")
        with gradio.Row():
            with gradio.Column(min_width=300):
                file = gradio.File(label=f"Image, at most {MAX_UPLOAD}", file_types=["image"], height=140)
                score = gradio.Slider(
                    0, 1, confidence_threshold, step=0.05, label="Lowest score of an instance", visible=detector
                )
                picture = gradio.Image(
                    label="Prediction", interactive=False, format="png", buttons=["fullscreen"], elem_id="picture"
                )
            with gradio.Column(min_width=300):
                choice = gradio.Dropdown([], label="Instance" if detector else "Class", info=_HOW, elem_id="choice")
                note = gradio.HTML(elem_id="note")
                panels = gradio.Gallery(
                    label="What the model sees", columns=3, height="auto", object_fit="contain", format="png"
                )
                gradio.Markdown(_LEGEND.format(explorer.longest_side))

        # Several visitors share one model, which handles one request at a time.
        alone = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
        image, answer = [seen, picture, choice, panels, note], [panels, note]
        file.change(replies.look, [file, score], image, **alone)
        score.release(replies.look, [file, score], image, **alone)
        choice.input(replies.ask, [seen, choice], answer, **alone)

        def click(seen: Look | None, event: gradio.SelectData) -> tuple:
            return replies.click(seen, *event.index)

        picture.select(click, [seen], [choice, *answer], **alone)
    return page


class Replies:
    """Computes what the page shows after each action of its visitor.

    The parts of the page show class names as plain text. Only notes and errors are HTML, so text is escaped in them.
    """

    def __init__(self, gradio: ModuleType, explorer: Explorer) -> None:
        """
        Args:
            gradio: The imported package.
            explorer: The explorer that computes the answers.
        """
        self._gradio, self._explorer = gradio, explorer

    def look(self, path: str | None, score: float) -> tuple:
        """Predict an uploaded image, or clear the page if the file was removed.

        Returns:
            The predicted image, its picture, the list of choices, no panels, and a note.
        """
        if path is None:
            return None, None, self._gradio.Dropdown(choices=[], value=None), [], ""
        try:
            threshold = score if self._explorer.predictor.task == "instances" else 0.0
            seen = self._explorer.look(path, confidence_threshold=threshold)
        except ValueError as error:
            return self._complain(str(error).replace(path, os.path.basename(path)))
        choices = self._explorer.choices(seen)
        note = "" if choices else f"No instance has a score of {score:g} or more."
        return seen, seen.picture, self._gradio.Dropdown(choices=choices, value=None), [], note

    def ask(self, seen: Look | None, choice: int | None, pixel: tuple[int, int] | None = None) -> tuple:
        """Return the panels and the note for a class or an instance, or for one pixel of it."""
        if seen is None or choice is None:
            return [], ""
        panels, reasons = answers(
            {
                "picture of it": lambda: [self._explorer.mask_panel(seen, choice)],
                "stages of the class": lambda: self._explorer.stages(seen, choice),
                "regions of tokens": lambda: self._explorer.regions(seen, choice, pixel),
            }
        )
        return panels, "".join(f"<p>{html.escape(reason)}</p>" for reason in reasons)

    def click(self, seen: Look | None, x: int, y: int) -> tuple:
        """Return the choice, the panels and the note for a position in the picture."""
        if seen is None:
            return None, [], ""
        pixel = seen.pixel(x, y)
        choice = self._explorer.choice_at(seen, pixel)
        if choice is None:
            return None, [], "There is no instance at this pixel."
        return choice, *self.ask(seen, choice, pixel)

    def _complain(self, message: str) -> tuple:
        """Return an empty page with a message, and also show the message as a warning for a moment."""
        safe = html.escape(message)
        self._gradio.Warning(safe, title="This image cannot be used")
        return None, None, self._gradio.Dropdown(choices=[], value=None), [], f"<p>{safe}</p>"
