#!/usr/bin/env python3
"""A guest that turns on its host, as far as one of its servers goes: listens on a unix socket and misbehaves to whoever
connects, until it is killed.

    guest.py MODE SOCKET

An engine (Docker's API):
    sound      lists no containers and has no events
    ends       tells the ends of new containers without an end, and never answers for the list
    list       lists 7 MiB of empty lists
    ports      lists a container that publishes 10,001 ports, and says each moment that it has changed
An agent (docs/agent.md):
    agent      answers, and tells of one listening program
    listeners  tells of listening programs, and never of the end of that list
    nonsense   answers, and then sends frames that are none
    silent     takes a connection and says nothing
"""
import itertools
import os
import socketserver
import struct
import sys
import time


def chunk(text):
    return b"%x\r\n%s\r\n" % (len(text), text)


def event(action, container):
    return b'{"Type":"container","Action":"%s","Actor":{"ID":"%s"}}\n' % (action, container)


class Engine(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            request = self.rfile.readline()
            if not request:
                return
            while self.rfile.readline().strip():
                pass
            if request.startswith(b"GET /events"):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                return self.events()
            if MODE == "ends":
                time.sleep(3600)
            body = BODY
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def events(self):
        if MODE == "sound":
            time.sleep(3600)
        for number in itertools.count():
            if MODE == "ends":
                text = b"".join(event(b"die", b"%064x" % (number * 200 + i)) for i in range(200))
            else:
                text = event(b"start", b"%064x" % number)
                time.sleep(0.01)
            self.wfile.write(chunk(text))


class Agent(socketserver.StreamRequestHandler):
    def frame(self, kind, stream, payload):
        self.wfile.write(kind + struct.pack(">I", len(payload))[1:] + struct.pack(">I", stream) + payload +
                         (b"\r" if kind == b"h" else b"\n"))

    def next_frame(self):
        head = self.rfile.read(8)
        if len(head) < 8:
            raise EOFError
        payload = self.rfile.read(int.from_bytes(head[1:4], "big"))
        self.rfile.read(1)
        return head[:1], int.from_bytes(head[4:], "big"), payload

    def handle(self):
        if MODE == "silent":
            time.sleep(3600)
        try:
            while True:
                kind, stream, payload = self.next_frame()
                if kind == b"h":
                    nonce = payload.split()[3]
                    self.frame(b"h", 0, b"colima-like agent 1 " + nonce + b" 16777216 hostile x86_64 listeners")
                    if MODE == "nonsense":
                        while True:
                            self.wfile.write(os.urandom(65536))
                if kind == b"o":
                    self.frame(b"a", stream, b"")
                    self.listeners(stream)
        except EOFError:
            pass

    def listeners(self, stream):
        line = b"tcp 127.0.0.1 %d /" + b"x" * 400 + b"\n"
        if MODE == "agent":
            return self.frame(b"d", stream, b"tcp 127.0.0.1 8080 /one\n.\n")
        credit = 256 * 1024
        for number in itertools.count():
            text = b"".join(line % (1 + (number * 50 + i) % 65000) for i in range(50))
            while credit < len(text) + 9:
                kind, _, payload = self.next_frame()
                if kind == b"c":
                    credit += int.from_bytes(payload, "big")
            credit -= len(text) + 9
            self.frame(b"d", stream, text)


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # whoever was attacked has hung up


def body():
    if MODE == "list":
        return b"[" + b",".join([b"[]"] * (7 << 20 >> 2)) + b"[]]"
    if MODE == "ports":
        ports = b",".join(b'{"IP":"127.0.0.1","PrivatePort":%d,"PublicPort":%d,"Type":"tcp"}' % (i, 20000 + i)
                          for i in range(1, 10002))
        return b'[{"Id":"%064x","Names":["/c"],"Ports":[%s]}]' % (1, ports)
    return b"[]"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    MODE = sys.argv[1]
    BODY = body()
    is_engine = MODE in ("sound", "ends", "list", "ports")
    Server(sys.argv[2], Engine if is_engine else Agent).serve_forever()
