"""A page on which images are explored by clicks: what the command `demo` does with --web. The package `gradio` is
optional."""

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
_LEGEND = """First what was found; then, of a segmentor, the class stage by stage, yellow where it is strongest; then
where those tokens look that have most to do with it. After a click the number is the token's share of the pixel; after
a choice from the list it is how much of the token's region lies on what was chosen. Larger images are shrunk to {}
pixels."""
_STYLE = """
.gradio-container { max-width: 1400px !important; }
footer { display: none !important; }
.grid-wrap { max-height: none !important; height: auto !important; }
@media (max-width: 600px) { .grid-container { grid-template-columns: repeat(2, 1fr) !important; } }
"""


def check_gradio() -> None:
    """Refuse to go on without the package `gradio`, before a model is loaded.

    Raises:
        ValueError: It is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ValueError("--web wants the package gradio, which is not installed: pip install 'tokenseg[web]'")


def serve(predictor: Predictor, *, confidence_threshold: float, host: str, port: int | None) -> None:
    """Serve the page until Ctrl-C.

    Args:
        predictor: The model.
        confidence_threshold: The lowest score of an instance at first; a slider changes it.
        host: The address at which the page is served.
        port: The port; None takes a free one.
    """
    with started(predictor, confidence_threshold=confidence_threshold, host=host, port=port) as address:
        if host not in ("127.0.0.1", "localhost", "::1"):
            print(f"warning: whoever reaches {host} can use this page")
        print(f"Open {address} in a browser; Ctrl-C ends it", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("ended")


@contextmanager
def started(
    predictor: Predictor, *, confidence_threshold: float = 0.5, host: str = "127.0.0.1", port: int | None = None
) -> Iterator[str]:
    """Serve the page in the background for the length of a `with` block; arguments as of `serve`.

    Yields:
        The address of the page.
    """
    with tempfile.TemporaryDirectory(prefix="tokenseg-web-") as folder:
        # read when Gradio is imported: nothing goes to its makers, and what is uploaded goes with the page
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
    """The page, as Gradio's Blocks.

    Args:
        gradio: The package.
        explorer: Answers the questions.
        confidence_threshold: The lowest score of an instance at first.
    """
    detector = explorer.predictor.task == "instances"
    replies = Replies(gradio, explorer)
    with gradio.Blocks(title="TokenSeg", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        seen = gradio.State(None, time_to_live=3600)
        gradio.Markdown("# TokenSeg")
        with gradio.Row():
            with gradio.Column(min_width=300):
                file = gradio.File(label=f"Image, {MAX_UPLOAD} at most", file_types=["image"], height=140)
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

        # one run of the model at a time
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
    """What the page shows after each thing that its visitor does.

    Names of classes are text to every part of the page but notes and errors, which are HTML and have them escaped.
    """

    def __init__(self, gradio: ModuleType, explorer: Explorer) -> None:
        """
        Args:
            gradio: The package.
            explorer: Answers the questions.
        """
        self._gradio, self._explorer = gradio, explorer

    def look(self, path: str | None, score: float) -> tuple:
        """The image, its picture, the list of choices, no panels, and a note, once a file is there or is taken away."""
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
        """The panels and the note of a class or an instance, or of a pixel in it."""
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
        """The choice, the panels and the note of a place in the picture."""
        if seen is None:
            return None, [], ""
        pixel = seen.pixel(x, y)
        choice = self._explorer.choice_at(seen, pixel)
        if choice is None:
            return None, [], "There is no instance at this pixel."
        return choice, *self.ask(seen, choice, pixel)

    def _complain(self, message: str) -> tuple:
        """An empty page with a message, which stands above it for a while too."""
        safe = html.escape(message)
        self._gradio.Warning(safe, title="This image cannot be used")
        return None, None, self._gradio.Dropdown(choices=[], value=None), [], f"<p>{safe}</p>"
