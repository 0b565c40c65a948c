"""A small real web server: `python site.py ADDRESS PORT TEXT` answers every GET with TEXT."""

import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer


class Site(ThreadingTCPServer):
    # Not http.server's own: that one looks its address up in DNS when it starts.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        text = sys.argv[3].encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_args: object) -> None:
        """Checks would fill the log."""


if __name__ == "__main__":
    with Site((sys.argv[1], int(sys.argv[2])), Handler) as site:
        site.serve_forever()
