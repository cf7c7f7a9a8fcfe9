"""A server of files on this machine, with the faults that servers have."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """Files by name; those `gone` are answered by 404, those `cut` break off."""

    files: dict[str, bytes]
    url: str = ""
    gone: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Served]:
    """Serve files on a port of 127.0.0.1, until the block ends."""
    served = Served(files)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            name = self.path.removeprefix("/data/")
            served.asked.append(name)
            content = served.files.get(name)
            if content is None or name in served.gone:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            half = len(content) // 2 if name in served.cut else len(content)
            self.wfile.write(content[:half])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}
    )
    thread.start()
    try:
        served.url = f"http://127.0.0.1:{server.server_port}/data/"
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
