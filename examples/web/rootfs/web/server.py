"""Serves the pages of a layer by HTTP on port 8080."""
import functools
import signal
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

# As PID 1 of its container the program gets no signal that it has no handler for.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


class Server(ThreadingHTTPServer):
    def server_bind(self):
        # HTTPServer would look up its own name, and wait for name servers.
        TCPServer.server_bind(self)


handler = functools.partial(SimpleHTTPRequestHandler, directory="/web/pages")
Server(("", 8080), handler).serve_forever()
