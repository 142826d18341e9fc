# SPDX-License-Identifier: Apache-2.0
"""A TCP relay that counts, delays, throttles and cuts; and a reader of SSH packet framing.

with Relay(("127.0.0.1", port)) as relay:
    ... dial relay.port ...
relay.sent, relay.received      bytes client to server, server to client, all connections
"""

import collections
import socket
import struct
import threading
import time

_CHUNK = 1 << 16


class Pipe(threading.Thread):
    """One direction of one connection: a reader and, when delayed, a second thread that writes."""

    def __init__(self, link, source, sink, upward):
        super().__init__(daemon=True)
        self.link, self.source, self.sink, self.upward = link, source, sink, upward
        self.relay = link.relay
        self.queue = collections.deque()
        self.ready = threading.Condition()
        self.head = bytearray()

    def run(self):
        writer = None
        if self.relay.delay:
            writer = threading.Thread(target=self._late, daemon=True)
            writer.start()
        try:
            while True:
                data = self.source.recv(_CHUNK)
                if not data:
                    break
                self._pass(data)
        except OSError:
            pass
        if writer:
            self._enqueue(None)
            writer.join()
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _pass(self, data):
        if self.relay.count(self, data):
            self.link.cut()
            return
        if self.relay.rate:
            time.sleep(len(data) / self.relay.rate)
        if self.relay.delay:
            self._enqueue((time.monotonic() + self.relay.delay, data))
        else:
            self.sink.sendall(data)

    def _enqueue(self, item):
        with self.ready:
            self.queue.append(item)
            self.ready.notify()

    def _late(self):
        while True:
            with self.ready:
                self.ready.wait_for(lambda: self.queue)
                item = self.queue.popleft()
            if item is None:
                return
            due, data = item
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self.sink.sendall(data)
            except OSError:
                return


class Link:
    """One accepted connection with its two pipes."""

    def __init__(self, relay, client, server):
        self.relay, self.client, self.server = relay, client, server
        self.up = Pipe(self, client, server, True)
        self.down = Pipe(self, server, client, False)

    def start(self):
        self.up.start()
        self.down.start()

    def cut(self):
        """Ends both sides with a reset, as a dead network would after its timeout."""
        for sock in (self.client, self.server):
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


class Relay:
    """Listens on a free port of 127.0.0.1 and passes every connection to `target`.

    delay      seconds added to each direction
    rate       bytes per second and direction, 0 = as fast as it goes
    cut_after  bytes in both directions after which every link is reset, once
    keep       remember up to this many first bytes per direction and link, for packets()
    """

    def __init__(self, target, delay=0.0, rate=0, cut_after=0, keep=0):
        self.target, self.delay, self.rate = target, delay, rate
        self.cut_after, self.keep = cut_after, keep
        self.sent = self.received = self.accepted = self.cuts = 0
        self.links = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]

    def count(self, pipe, data):
        """Adds to the totals; True when this is the moment to cut."""
        with self.lock:
            if pipe.upward:
                self.sent += len(data)
            else:
                self.received += len(data)
            if len(pipe.head) < self.keep:
                pipe.head += data[: self.keep - len(pipe.head)]
            if self.cut_after and self.sent + self.received >= self.cut_after:
                self.cut_after = 0
                self.cuts += 1
                return True
        return False

    @property
    def total(self):
        return self.sent + self.received

    def cut_all(self):
        for link in list(self.links):
            link.cut()

    def settle(self, seconds=5.0):
        """Waits until both directions of every link have ended, so that the counts are final."""
        deadline = time.monotonic() + seconds
        for link in list(self.links):
            for pipe in (link.up, link.down):
                pipe.join(max(0.0, deadline - time.monotonic()))

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, client, server)
            self.links.append(link)
            self.accepted += 1
            link.start()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.cut_all()


NEWKEYS = 21


def packets(stream):
    """Splits one direction of an SSH connection that uses AES-GCM into wire sizes of its packets.

    Returns (clear, sealed): bytes up to and including NEWKEYS with the banner, and the list of
    sizes of the packets after it. AES-GCM sends each length in the clear and adds a 16 byte tag.
    """
    banner = bytes(stream).find(b"\n") + 1
    while banner and not bytes(stream[:banner]).splitlines()[-1].startswith(b"SSH-"):
        banner = bytes(stream).find(b"\n", banner) + 1
    if not banner:
        return 0, []
    offset, sealed, clear = banner, [], 0
    while offset + 6 <= len(stream):
        length = struct.unpack_from(">I", stream, offset)[0]
        if not 2 <= length <= 1 << 20:
            break
        if clear:
            sealed.append(4 + length + 16)
            offset += 4 + length + 16
            continue
        kind = stream[offset + 5]
        offset += 4 + length
        if kind == NEWKEYS:
            clear = offset
    return clear, sealed
