"""Serves the pages of a layer by HTTP on port 8080."""
import functools
import signal
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

# As PID 1 of its container the program gets no signal that it has no handler for.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

handler = functools.partial(SimpleHTTPRequestHandler, directory="/web/pages")
ThreadingHTTPServer(("", 8080), handler).serve_forever()
