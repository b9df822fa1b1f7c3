"""A page in a browser, watched for what no page of ours may do."""

# Windows in pixels.
PHONE, SMALL_PHONE, DESK = {"width": 390, "height": 844}, {"width": 320, "height": 640}, {"width": 1280, "height": 900}


class Watched:
    """A page, and what it has done that no page of ours may do.

    Attributes:
        page: Playwright's page.
        requests: The addresses that it has asked for, beside data and what it made itself.
        alerts: The dialogs and the errors of its scripts.
    """

    def __init__(self, page):
        self.page, self.requests, self.alerts = page, [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: (self.alerts.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self.alerts.append(str(error)))

    def foreign(self, home):
        """The requests that go elsewhere than below an address."""
        return [url for url in self.requests if not url.startswith((home, "data:", "blob:"))]

    def overflows(self, size):
        """Whether the page is wider than a window of this size."""
        self.page.set_viewport_size(size)
        self.page.wait_for_timeout(200)
        return self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
