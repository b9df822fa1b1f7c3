"""A page in a browser that records forbidden behaviour: foreign requests, dialogs, errors of scripts."""

# The sizes of windows in pixels.
PHONE, SMALL_PHONE, DESK = {"width": 390, "height": 844}, {"width": 320, "height": 640}, {"width": 1280, "height": 900}


class Watched:
    """A page, and a record of its requests, dialogs and errors.

    Attributes:
        page: Playwright's page.
        requests: The addresses that the page has requested.
        alerts: The texts of its dialogs, and the errors of its scripts.
    """

    def __init__(self, page):
        self.page, self.requests, self.alerts = page, [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: (self.alerts.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self.alerts.append(str(error)))

    def foreign(self, home):
        """Return the requests to addresses outside `home`, except those for data that the page itself has created."""
        return [url for url in self.requests if not url.startswith((home, "data:", "blob:"))]

    def overflows(self, size):
        """Return whether the page is wider than a window of this size."""
        self.page.set_viewport_size(size)
        self.page.wait_for_timeout(200)
        return self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
