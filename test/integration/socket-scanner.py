"""A scanner with a protocol of its own: "SCAN <size>\n", the message; answers "CLEAN <score>" or "BAD <name>".

Run as: python3 socket-scanner.py PORT
"""

import socketserver
import sys


class Scan(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline(100):
            command, _, size = line.decode().strip().partition(" ")
            if command == "HELLO":
                self.wfile.write(b"HERE\n")
                continue
            message = self.rfile.read(int(size))
            lucky = message.count(b"lucky")
            self.wfile.write(b"BAD Pharma.1\n" if b"pills" in message else b"CLEAN %d\n" % lucky)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


Server(("127.0.0.1", int(sys.argv[1])), Scan).serve_forever()
