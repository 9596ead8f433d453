#!/usr/bin/python3
"""Handshakes and idle connections against a running server: prints `name value` lines.

    tls.py cpu PORT PID PKI NAME full|resumed COUNT   handshakes per second of one core's time
    tls.py idle PORT PID PKI COUNT NAME...            KiB of RSS more with COUNT idle connections

PKI holds ca.crt, NAME.crt, NAME.key. The client is OpenSSL's, one connection after the other; what
is counted is the time that the server's threads had a processor.
"""
import glob
import socket
import ssl
import struct
import sys
import time

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
PING = b"\0\0\10\6\0\0\0\0\0" + b"stillson"


def context_of(pki, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(f"{pki}/ca.crt")
    context.load_cert_chain(f"{pki}/{name}.crt", f"{pki}/{name}.key")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


def connect(context, port, session=None):
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # No TIME_WAIT for thousands of short connections.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return context.wrap_socket(raw, server_hostname="localhost", session=session)


def cpu_seconds(pid):
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path, encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def handshakes(port, pid, pki, name, kind, count):
    context = context_of(pki, name)
    first = connect(context, port)
    session = first.session if kind == "resumed" else None
    first.close()
    begun, wall = cpu_seconds(pid), time.monotonic()
    for _ in range(count):
        tls = connect(context, port, session)
        if tls.session_reused != (kind == "resumed"):
            sys.exit(f"a handshake was not {kind}")
        tls.close()
    spent = cpu_seconds(pid) - begun
    print(f"{kind}_per_core_s {count / spent:.0f}")
    print(f"{kind}_wall_s {count / (time.monotonic() - wall):.0f}")


def status(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1])
    return 0


def idle(port, pid, pki, count, names):
    print(f"rss_kib {status(pid, 'VmRSS')}")
    print(f"anon_kib {status(pid, 'RssAnon')}")
    before = status(pid, "VmRSS")
    contexts = [context_of(pki, name) for name in names]
    sessions = [None] * len(names)
    held = []
    for i in range(count):
        at = i % len(names)
        tls = connect(contexts[at], port, sessions[at])
        sessions[at] = sessions[at] or tls.session
        tls.sendall(GREETING)
        held.append(tls)
    for tls in held:  # each has been served and is one that lives
        tls.sendall(PING)
        seen = b""
        while PING[9:] not in seen:
            piece = tls.recv(4096)
            if not piece:
                sys.exit("a connection was closed")
            seen += piece
    print(f"busy_more_kib {status(pid, 'VmRSS') - before}")
    lowest = status(pid, "VmRSS")
    for _ in range(50):
        time.sleep(0.1)
        lowest = min(lowest, status(pid, "VmRSS"))
    print(f"idle_more_kib {lowest - before}")


def main():
    what, port, pid, pki = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    if what == "cpu":
        handshakes(port, pid, pki, sys.argv[5], sys.argv[6], int(sys.argv[7]))
    else:
        idle(port, pid, pki, int(sys.argv[5]), sys.argv[6:])


main()
