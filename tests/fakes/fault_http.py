#!/usr/bin/env python3
"""fault_http.py FILE [--tls CERT KEY] [--proxy]: a web server on loopback that serves FILE, with faults on demand.

Prints its port and then one line for each request: "METHOD PATH [RANGE] [IF-RANGE]". Ends with its stdin.
What it does is in the path, words joined by dashes, in any order; the n-th request of a path counts on its own:
  /file                  as a good server: ranges, ETag, If-Range
  drop=N                 closes the connection after N bytes of the body; dropN=K only in the first K requests
  noranges               ignores Range
  noetag                 no ETag and no date
  change=K               from request K on another file (every byte differs), with another ETag
  wrong                  another file of the same length
  status=S               answers with status S; statusN=K only in the first K requests; status 429 and 503 say Retry-After: 0
  slow=BPS               that many bytes per second
  stall                  sends half and then nothing
  short                  says half the length and sends no more
  long                   says more than it sends, and closes
  endless                no length, and never ends
  chunked                chunked transfer coding
  badrange               206 for another part than asked
  nonsense               no HTTP
  loop                   redirects to itself
  to=PORT                redirects to http://127.0.0.1:PORT/file
  hop=N                  redirects N times before the file, relative
  insecure               redirects from https to http
As a proxy it serves every http:// URL by its path, and CONNECT by leading to 127.0.0.1 at the port asked for; with
--auth USER:PASSWORD only for those who say it.
"""
import argparse
import base64
import mmap
import socket
import ssl
import sys
import threading
import time

lock = threading.Lock()
counts = {}


def say(text):
    with lock:
        print(text, flush=True)


def parse_words(path):
    words = {}
    for word in path.strip("/").split("?")[0].split("/")[-1].split("-"):
        name, _, value = word.partition("=")
        words[name] = int(value) if value else True
    return words


def read_head(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        got = connection.recv(65536)
        if not got:
            return None
        data += got
    lines = data.split(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return lines[0].split(" "), headers


def relay(a, b):
    try:
        while got := a.recv(65536):
            b.sendall(got)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(connection, content, options):
    head = read_head(connection)
    if head is None:
        return
    (method, path, _), headers = head
    if options.auth and headers.get("proxy-authorization") != "Basic " + base64.b64encode(options.auth.encode()).decode():
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        say(f"{method} {path} refused")
        return
    if method == "CONNECT":
        say(f"{method} {path}")
        with socket.create_connection(("127.0.0.1", int(path.rsplit(":", 1)[1]))) as other:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            there = threading.Thread(target=relay, args=(connection, other), daemon=True)
            there.start()
            relay(other, connection)
            there.join()
        return
    say(" ".join(filter(None, [method, path, headers.get("range"), headers.get("if-range")])))
    if path.startswith("http://"):
        path = "/" + path.split("/", 3)[3]
    with lock:
        counts[path] = counts.get(path, 0) + 1
        turn = counts[path]
    words = parse_words(path)

    def reply(status, extra="", body=b""):
        connection.sendall(f"HTTP/1.1 {status} X\r\n{extra}Connection: close\r\n\r\n".encode() + body)

    if "nonsense" in words:
        connection.sendall(b"220 mail.example ESMTP\r\n\r\n")
        return
    for name, value in words.items():
        if name.startswith("status"):
            often = int(name[6:]) if name[6:] else None
            if often is None or turn <= often:
                reply(value, "Retry-After: 0\r\nContent-Length: 4\r\n", b"oops")
                return
    if "loop" in words:
        return reply(302, f"Location: {path}\r\nContent-Length: 0\r\n")
    if "to" in words:
        return reply(302, f"Location: http://127.0.0.1:{words['to']}/file\r\nContent-Length: 0\r\n")
    if "insecure" in words:
        return reply(301, f"Location: http://127.0.0.1:{options.port}/file\r\nContent-Length: 0\r\n")
    if words.get("hop", 0) > 0:
        return reply(307, f"Location: hop={words['hop'] - 1}\r\nContent-Length: 0\r\n")

    etag = '"first"'
    if "wrong" in words or turn >= words.get("change", 1 << 30):
        content, etag = bytes(b ^ 0xFF for b in content), '"second"'
    extra = "" if "noetag" in words else f"ETag: {etag}\r\nLast-Modified: Mon, 13 Jul 2026 10:00:00 GMT\r\n"
    first, status = 0, 200
    asked = headers.get("range", "")
    if asked and "noranges" not in words and headers.get("if-range", etag) == etag:
        first = int(asked.removeprefix("bytes=").split("-")[0])
        if first >= len(content):
            return reply(416, f"Content-Range: bytes */{len(content)}\r\nContent-Length: 0\r\n")
        status = 206
        told = first + 7 if "badrange" in words else first
        extra += f"Content-Range: bytes {told}-{len(content) - 1}/{len(content)}\r\n"
    body = content[first:]
    length = len(body)
    if "short" in words:
        length //= 2
        body = body[:length]
    if "long" in words:
        length += 1000
    drop = None
    for name, value in words.items():
        if name.startswith("drop") and (not name[4:] or turn <= int(name[4:])):
            drop = value
    if "chunked" in words:
        extra += "Transfer-Encoding: chunked\r\n"
    elif "endless" not in words:
        extra += f"Content-Length: {length}\r\n"
    reply(status, extra)
    if drop is not None:
        body = body[:drop]
    if "stall" in words:
        connection.sendall(body[: len(body) // 2])
        connection.recv(1)
        return
    if "endless" in words:
        while True:
            connection.sendall(bytes(65536))
    if "chunked" in words:
        for at in range(0, len(body), 5000):
            piece = body[at : at + 5000]
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if drop is None:
            connection.sendall(b"0\r\n\r\n")
        return
    if "slow" in words:
        step = max(1, words["slow"] // 20)
        for at in range(0, len(body), step):
            connection.sendall(body[at : at + step])
            time.sleep(0.05)
        return
    connection.sendall(body)


def handle(connection, content, options, context):
    try:
        with connection:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            serve(connection, content, options)
            if context is not None:
                connection.unwrap()
    except (OSError, ssl.SSLError, ValueError) as error:
        print(f"fault_http: {error}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--auth")
    options = parser.parse_args()
    with open(options.file, "rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # slices of it are no copies
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
    listener = socket.create_server(("127.0.0.1", 0))
    options.port = listener.getsockname()[1]
    say(options.port)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=handle, args=(connection, content, options, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


main()
