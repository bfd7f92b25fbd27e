"""moto's server, one request at a time.

moto restores whole tables after a transaction that failed: a request that was served meanwhile would be undone with it.
So the requests queue up. Connections do not: a client may keep several open.
"""

import argparse
import os
import threading
import time

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class OneAtATime:
    """Passes a request on when the one before it has been answered in full."""

    def __init__(self, application):
        self.application = application
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        with self.lock:
            answer = self.application(environ, start_response)
            try:
                return [b"".join(answer)]
            finally:
                if hasattr(answer, "close"):
                    answer.close()


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: without this each answer waits for the client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def log_request(self, *_):
        pass


def end_with(pid):
    """Ends this process when the one with this pid has ended, however it did."""
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            os._exit(0)
        time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--address-file", required=True, help="gets host:port when the server listens")
    parser.add_argument("--end-with", type=int, metavar="PID", help="end when the process with this pid does")
    arguments = parser.parse_args()
    if arguments.end_with:
        threading.Thread(target=end_with, args=(arguments.end_with,), daemon=True).start()

    application = OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", arguments.port, application, threaded=True, request_handler=Handler)
    partial = arguments.address_file + ".part"
    with open(partial, "w", encoding="utf-8") as file:
        file.write(f"127.0.0.1:{server.port}")
    os.replace(partial, arguments.address_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
