# SPDX-License-Identifier: Apache-2.0
"""Bad input: one line on stderr that names the culprit, the right exit code, nothing written anywhere."""
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
FAILURE = (1,)
REFUSED = (1, 2)
KEY = (2, 11)


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
        self.env = {"HOME": s.sub("sandbox", "home"), "TMPDIR": s.sub("sandbox", "tmp"),
                    "XDG_STATE_HOME": s.sub("sandbox", "home")}
        self.open_key = os.path.join(self.path, "open-key")
        shutil.copyfile(s.keys.user, self.open_key)
        os.chmod(self.open_key, 0o644)

    def expect(self, title, codes, words, *args):
        """Runs the command; `words` must all be in the one line on stderr."""
        before = anypath.stamps(self.path)
        done = self.s.run(*args, env=self.env, cwd=self.path, timeout=30)
        lines = [line for line in done.err.decode("utf-8", "backslashreplace").split("\n") if line]
        rig.check(done.rc in codes, f"{title}: exit {done.rc}, expected {codes}; stderr {lines}")
        rig.check(len(lines) == 1, f"{title}: {len(lines)} lines on stderr: {lines}")
        rig.check(all(word.lower() in lines[0].lower() for word in words),
                  f"{title}: stderr does not name {words}: {lines[0]}")
        rig.check(not done.out.strip(), f"{title}: stdout has {done.out[:200]}")
        rig.check(anypath.stamps(self.path) == before, f"{title}: something was written")
        rig.note(f"{title}: {done.rc}: {lines[0]}")


def transfer_words(box, peer, **changed):
    """A complete push; keywords replace or add an option, None takes it away."""
    options = {"--port": str(peer.port), "--identity": box.s.keys.user,
               "--known-host-key": box.s.keys.host + ".pub"}
    options.update({f"--{name.replace('_', '-')}": value for name, value in changed.items()})
    return [word for name, value in options.items() if value is not None for word in (name, value)]


def paths(box, peer):
    words = transfer_words(box, peer)
    host = peer.at()
    box.expect("missing source", REFUSED, ["is-not-there"], "push", *words, box.missing, host)
    box.expect("source is a file", REFUSED, [box.file], "push", *words, box.file, host)
    box.expect("destination of a pull is missing", REFUSED, ["is-not-there"], "pull", *words, host, box.missing)
    box.expect("destination of a pull is a file", REFUSED, [box.file], "pull", *words, host, box.file)
    box.expect("path below the root is missing", FAILURE, ["is-not-there"], "push", *words, box.source,
               peer.at("is-not-there"))
    box.expect("path leads out of the root", REFUSED, [".."], "push", *words, box.source, peer.at("../source"))
    box.expect("diff of a missing directory", REFUSED, ["is-not-there"], "diff", box.source, box.missing)
    box.expect("recover of a missing root", REFUSED, ["is-not-there"], "recover", "--root", box.missing)


def serving(box):
    keys = ["--host-key", box.s.keys.host, "--authorized-keys", box.s.keys.authorized, "--listen", "127.0.0.1"]
    box.expect("root missing", REFUSED, ["is-not-there"], "serve", "--root", box.missing, *keys, "--port", "0")
    box.expect("root is a file", REFUSED, [box.file], "serve", "--root", box.file, *keys, "--port", "0")
    box.expect("served source missing", REFUSED, ["is-not-there"], "serve", "--source", box.missing, *keys,
               "--port", "0")
    box.expect("receive into a missing root", REFUSED, ["is-not-there"], "receive", "--root", box.missing)
    box.expect("send of a missing source", REFUSED, ["is-not-there"], "send", "--source", box.missing)
    box.expect("root and source together", USAGE, ["--root", "--source"], "serve", "--root", box.target,
               "--source", box.source, *keys, "--port", "0")
    box.expect("neither root nor source", USAGE, ["--root"], "serve", *keys, "--port", "0")
    box.expect("host key missing", KEY, ["is-not-there"], "serve", "--root", box.target, "--host-key",
               box.missing, *keys[2:], "--port", "0")
    box.expect("host key readable by the world", KEY, ["open-key"], "serve", "--root", box.target,
               "--host-key", box.open_key, *keys[2:], "--port", "0")
    box.expect("authorized keys missing", KEY, ["is-not-there"], "serve", "--root", box.target, *keys[:2],
               "--authorized-keys", box.missing, *keys[4:], "--port", "0")
    box.expect("no authorized keys option", USAGE, ["--authorized-keys"], "serve", "--root", box.target,
               *keys[:2], "--port", "0")
    for port in ("65536", "-1", "ssh2", ""):
        box.expect(f"serve on port {port!r}", USAGE, ["--port"], "serve", "--root", box.target, *keys,
                   "--port", port)


def values(box, peer):
    host = peer.at()
    bad = {"port": ["0", "65536", "abc", "-5", "22x", ""], "bwlimit": ["12parsecs", "-1", "1e", ""],
           "timeout": ["soon", "-3s", "5 parsec"], "retry_for": ["1y2", "x"],
           "wait_for_destination": ["never"], "max_delete": ["-2", "many"], "max_shrink": ["101", "-1", "half"],
           "connections": ["0", "-1", "17x", "some"], "compress": ["fast", "99"], "in_place": ["maybe"],
           "progress": ["often"], "cipher": ["rot13"], "data_as_of": ["yesterday"], "sync_number": ["one"]}
    for name, choices in bad.items():
        option = f"--{name.replace('_', '-')}"
        for value in choices:
            box.expect(f"{option} {value!r}", USAGE, [option], "push",
                       *transfer_words(box, peer, **{name: value}), box.source, host)


def keys(box, peer):
    host = peer.at()
    box.expect("private key missing", KEY, ["is-not-there"], "push",
               *transfer_words(box, peer, identity=box.missing), box.source, host)
    box.expect("private key readable by the world", KEY, ["open-key"], "push",
               *transfer_words(box, peer, identity=box.open_key), box.source, host)
    box.expect("private key is no key", KEY, [box.file], "push",
               *transfer_words(box, peer, identity=box.file), box.source, host)
    box.expect("known host key missing", KEY, ["is-not-there"], "push",
               *transfer_words(box, peer, known_host_key=box.missing), box.source, host)
    box.expect("no known host key", KEY, ["--known-host-key"], "push",
               *transfer_words(box, peer, known_host_key=None), box.source, host)
    box.expect("another host's key", (11,), ["host key"], "push",
               *transfer_words(box, peer, known_host_key=box.s.keys.user + ".pub"), box.source, host)
    box.expect("a key that is not let in", (11,), [], "push",
               *transfer_words(box, peer, identity=box.s.keys.host), box.source, host)
    box.expect("keygen over an existing file", REFUSED, [box.file], "keygen", box.file)
    box.expect("keygen of an unknown type", USAGE, ["--type"], "keygen", "--type", "dsa", box.missing)


def usage(box, peer):
    words = transfer_words(box, peer)
    host = peer.at()
    box.expect("unknown option", USAGE, ["--frobnicate"], "push", "--frobnicate", *words, box.source, host)
    box.expect("unknown short option", USAGE, ["-Z"], "push", "-Z", *words, box.source, host)
    box.expect("option without its value", USAGE, ["--port"], "push", box.source, host, "--port")
    box.expect("value for a flag", USAGE, ["--delete"], "push", "--delete=yes", *words, box.source, host)
    box.expect("unknown command", USAGE, ["shove"], "shove", box.source, host)
    box.expect("push without operands", USAGE, [], "push", *words)
    box.expect("push with one operand", USAGE, [], "push", *words, box.source)
    box.expect("push with three operands", USAGE, [], "push", *words, box.source, host, "third")
    box.expect("no host in the destination", USAGE, [], "push", *words, box.source, "root@:")
    box.expect("quiet and verbose", USAGE, ["-q"], "push", "-q", "-v", *words, box.source, host)
    box.expect("numeric ids and names", USAGE, ["--map-names"], "push", "--numeric-ids", "--map-names", *words,
               box.source, host)
    box.expect("two ways to know the host", USAGE, ["--known-hosts"], "push", *words, "--known-hosts",
               box.file, box.source, host)
    box.expect("rules from a missing file", REFUSED, ["is-not-there"], "push", *words, "--exclude-from",
               box.missing, box.source, host)
    box.expect("report into a missing directory", REFUSED, ["is-not-there"], "push", *words, "--report",
               os.path.join(box.missing, "report"), box.source, host)


def unreachable(box, peer):
    words = transfer_words(box, peer, port="1")
    box.expect("nobody listens", (10,), ["127.0.0.1"], "push", *words, "--retry-for", "0s", box.source, peer.at())


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
            for part in (paths, values, keys, usage, unreachable):
                part(box, peer)
        serving(box)
        if os.geteuid() == 0:
            rig.private_mounts()
            read_only(s)
        else:
            rig.note("not root: a read-only mount is not tried")


if __name__ == "__main__":
    rig.run(body, stage.arguments(__doc__))
