# SPDX-License-Identifier: Apache-2.0
"""Bad input: one line on stderr that names the culprit, the right exit code, nothing written."""

import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import anypath
import fsloop
import rig
import stage

USAGE = (2,)
REFUSED = (1, 2)
KEY = (2, 11)
AUTH = (11,)


class Sandbox:
    """Home, working directory, temporary directory, source and target of one bad command."""

    def __init__(self, s):
        self.s = s
        self.path = s.sub("sandbox")
        self.source, self.target = s.sub("sandbox", "source"), s.sub("sandbox", "target")
        for directory in (self.source, self.target):
            with open(os.path.join(directory, "file"), "wb") as file:
                file.write(directory.encode())
        self.file = os.path.join(self.source, "file")
        self.missing = os.path.join(self.path, "is-not-there")
        self.env = {
            "HOME": s.sub("sandbox", "home"),
            "TMPDIR": s.sub("sandbox", "tmp"),
            "XDG_STATE_HOME": s.sub("sandbox", "home"),
        }
        self.open_key = os.path.join(self.path, "open-key")
        shutil.copyfile(s.keys.user, self.open_key)
        os.chmod(self.open_key, 0o644)
        self.no_key = os.path.join(self.path, "no-key")
        shutil.copyfile(self.file, self.no_key)
        os.chmod(self.no_key, 0o600)

    def expect(self, title, codes, words, *args):
        """Runs the command; `words` must all be in the one line on stderr."""
        before = anypath.stamps(self.path)
        done = self.s.run(*args, env=self.env, cwd=self.path, timeout=30)
        lines = [line for line in done.err.decode("utf-8", "backslashreplace").split("\n") if line]
        rig.check(done.rc in codes, f"{title}: exit {done.rc}, expected {codes}; stderr {lines}")
        rig.check(len(lines) == 1, f"{title}: {len(lines)} lines on stderr: {lines}")
        rig.check(
            all(word.lower() in lines[0].lower() for word in words),
            f"{title}: stderr does not name {words}: {lines[0]}",
        )
        rig.check(not done.out.strip(), f"{title}: stdout has {done.out[:200]}")
        rig.check(anypath.stamps(self.path) == before, f"{title}: something was written")
        rig.note(f"{title}: {done.rc}: {lines[0]}")


class Transfers:
    """Writes complete push and pull commands with one thing wrong in each."""

    def __init__(self, box, peer):
        self.box, self.peer, self.host = box, peer, peer.at()

    def words(self, changed):
        """Options for the peer; a keyword replaces or adds one, None takes it away."""
        keys = self.box.s.keys
        options = {"port": str(self.peer.port), "identity": keys.user,
                   "known_host_key": keys.host + ".pub", **changed}
        return [word for name, value in options.items() if value is not None
                for word in ("--" + name.replace("_", "-"), value)]

    def push(self, title, codes, names, *extra, source=None, target=None, **changed):
        self.box.expect(title, codes, names, "push", *extra, *self.words(changed),
                        source or self.box.source, target or self.host)

    def pull(self, title, codes, names, target):
        self.box.expect(title, codes, names, "pull", *self.words({}), self.host, target)


def paths(box, t):
    gone = ["is-not-there"]
    t.push("missing source", REFUSED, gone, source=box.missing)
    t.push("source is a file", REFUSED, [box.file], source=box.file)
    t.pull("destination of a pull is missing", REFUSED, gone, box.missing)
    t.pull("destination of a pull is a file", REFUSED, [box.file], box.file)
    t.push("path below the root is a file", REFUSED, ["file"], target=t.peer.at("file"))
    t.push("path below the root is missing", REFUSED, gone, target=t.peer.at("is-not-there/below"))
    t.push("path leads out of the root", REFUSED, [".."], target=t.peer.at("../source"))
    box.expect("diff of a missing directory", REFUSED, gone, "diff", box.source, box.missing)
    box.expect("recover of a missing root", REFUSED, gone, "recover", "--root", box.missing)
    box.expect("receive into a missing root", REFUSED, gone, "receive", "--root", box.missing)
    box.expect("send of a missing source", REFUSED, gone, "send", "--source", box.missing)


def serving(box, _t):
    keys = box.s.keys
    given = {"host_key": keys.host, "authorized_keys": keys.authorized, "listen": "127.0.0.1",
             "port": "0", "root": box.target}

    def serve(title, codes, names, **changed):
        words = [word for name, value in {**given, **changed}.items() if value is not None
                 for word in ("--" + name.replace("_", "-"), value)]
        box.expect(title, codes, names, "serve", *words)

    gone = ["is-not-there"]
    serve("root missing", REFUSED, gone, root=box.missing)
    serve("root is a file", REFUSED, [box.file], root=box.file)
    serve("served source missing", REFUSED, gone, root=None, source=box.missing)
    serve("root and source together", USAGE, ["--root", "--source"], source=box.source)
    serve("neither root nor source", USAGE, ["--root"], root=None)
    serve("host key missing", KEY, gone, host_key=box.missing)
    serve("host key readable by the world", KEY, ["open-key"], host_key=box.open_key)
    serve("authorized keys missing", KEY, gone, authorized_keys=box.missing)
    serve("no authorized keys option", USAGE, ["--authorized-keys"], authorized_keys=None)
    for port in ("65536", "-1", "ssh2", ""):
        serve(f"serve on port {port!r}", USAGE, ["--port"], port=port)


BAD_VALUES = {
    "port": ["0", "65536", "abc", "-5", "22x", ""],
    "bwlimit": ["12parsecs", "-1", "1e", ""],
    "timeout": ["soon", "-3s", "5 parsec"],
    "retry_for": ["1y2", "x"],
    "wait_for_destination": ["never"],
    "max_delete": ["-2", "many"],
    "max_shrink": ["101", "-1", "half"],
    "connections": ["0", "-1", "17x", "some"],
    "compress": ["fast", "99"],
    "in_place": ["maybe"],
    "progress": ["often"],
    "cipher": ["rot13"],
    "data_as_of": ["yesterday"],
    "sync_number": ["one"],
}


def values(_box, t):
    for name, choices in BAD_VALUES.items():
        option = "--" + name.replace("_", "-")
        for value in choices:
            t.push(f"{option} {value!r}", USAGE, [option], **{name: value})


def keys_and_hosts(box, t):
    keys = box.s.keys
    t.push("private key missing", KEY, ["is-not-there"], identity=box.missing)
    t.push("private key readable by the world", KEY, ["open-key"], identity=box.open_key)
    t.push("private key is no key", KEY, ["no-key"], identity=box.no_key)
    t.push("no private key", USAGE, ["--identity"], identity=None)
    t.push("known host key missing", KEY, ["is-not-there"], known_host_key=box.missing)
    t.push("no known host key", USAGE, ["--known-host-key"], known_host_key=None)
    t.push("another host's key", AUTH, ["host key"], known_host_key=keys.user + ".pub")
    t.push("a key that is not let in", AUTH, [], identity=keys.host)
    t.push("nobody listens", (10,), ["127.0.0.1"], port="1", retry_for="0s")
    box.expect("keygen over an existing file", REFUSED, [box.file], "keygen", box.file)
    box.expect("keygen of an unknown type", USAGE, ["--type"], "keygen", "--type", "dsa",
               box.missing)


def usage(box, t):
    t.push("unknown option", USAGE, ["--frobnicate"], "--frobnicate")
    t.push("unknown short option", USAGE, ["-Z"], "-Z")
    t.push("value for a flag", USAGE, ["--delete"], "--delete=yes")
    t.push("quiet and verbose", USAGE, ["quiet"], "-q", "-v")
    t.push("numeric ids and names", USAGE, ["--map-names"], "--numeric-ids", "--map-names")
    t.push("two ways to know the host", USAGE, ["--known-hosts"], known_hosts=box.file)
    t.push("another program and a port", USAGE, ["--rsh"], rsh="ssh")
    t.push("max-delete without delete", USAGE, ["--max-delete"], max_delete="5")
    t.push("rules from a missing file", REFUSED, ["is-not-there"], exclude_from=box.missing)
    t.push("report into a missing directory", REFUSED, ["is-not-there"],
           report=os.path.join(box.missing, "report"))
    t.push("no host in the destination", USAGE, [], target="root@:")
    t.push("three operands", USAGE, [], "third")
    words = t.words({})
    box.expect("option without its value", USAGE, ["--port"], "push", "a", "b:", "--port")
    box.expect("unknown command", USAGE, ["shove"], "shove", box.source, t.host)
    box.expect("no command", USAGE, [])
    box.expect("push without operands", USAGE, [], "push", *words)
    box.expect("push with one operand", USAGE, [], "push", *words, box.source)


def read_only(s):
    """A destination on a filesystem that is mounted read-only, with something to do there."""
    with fsloop.Filesystem("tmpfs", s.scratch.path, "frozen") as frozen:
        root = os.path.join(frozen.path, "root")
        os.mkdir(root)
        subprocess.run(["mount", "-o", "remount,ro", frozen.path], check=True)
        source = s.sub("sandbox", "source")
        before = anypath.stamps(root)
        try:
            with s.serve(root=root, checked=False) as peer:
                done = s.push(peer, source, "--delete")
                code, said = done.rc, done.err
        except rig.Failure as error:
            code, said = 1, str(error).encode()
        rig.check(code not in (0, 4), f"read-only destination: exit {code}")
        rig.check(b"read-only" in said.lower(), lambda: f"read-only destination: stderr {said}")
        rig.check(anypath.stamps(root) == before, "read-only destination: changed")
        rig.note(f"read-only destination: {code}")


def body(args):
    with stage.Stage("badinput", args.binary) as s:
        box = Sandbox(s)
        with s.serve(root=box.target) as peer:
            for part in (paths, values, keys_and_hosts, usage, serving):
                part(box, Transfers(box, peer))
        if os.geteuid() == 0:
            rig.private_mounts()
            read_only(s)
        else:
            rig.note("not root: a read-only mount is not tried")


if __name__ == "__main__":
    rig.run(body, stage.arguments(__doc__))
