# SPDX-License-Identifier: Apache-2.0
"""The program under test and its peers: keys, `serve`, a real sshd, push and pull over SSH."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import rig

HERE = os.path.dirname(os.path.abspath(__file__))
ITEM = re.compile(rb"^(?:[<>ch.][fdLDS][.+?a-zA-Z ]{9} |\*deleting {3})")
SANITIZER = (b"AddressSanitizer", b"LeakSanitizer", b"runtime error:", b"ThreadSanitizer")


class Done:
    """How a command ended. `usage` is measure.py's document, {} when it was not asked for."""

    def __init__(self, args, rc, out, err, usage, report):
        self.args, self.rc, self.out, self.err = args, rc, out, err
        self.usage, self.report = usage, report

    @property
    def items(self):
        """The itemized lines of stdout, in order."""
        return [line for line in self.out.split(b"\n") if ITEM.match(line)]

    def need(self, *codes):
        rig.check(
            self.rc in (codes or (0,)),
            lambda: (
                f"{' '.join(map(str, self.args))}\nexit {self.rc}, expected {codes or (0,)}\n"
                f"stdout: {_tail(self.out)}\nstderr: {_tail(self.err)}\nreport: {self.report}"
            ),
        )
        return self


def _tail(data, limit=3000):
    return data[-limit:].decode("utf-8", "backslashreplace")


def check_sanitizers(data, where):
    for word in SANITIZER:
        rig.check(word not in data, lambda: f"{where}: sanitizer report\n{_tail(data, 6000)}")


def read_file(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _load(path):
    text = read_file(path)
    if not text.strip():
        return {}
    try:
        return json.loads(text)
    except ValueError as error:
        raise rig.Failure(f"{path} is not JSON ({error}): {_tail(text)}") from error


def sanitized(binary):
    """True when the binary was built with a sanitizer: it needs far more memory and time."""
    with open(binary, "rb") as file:
        data = file.read()
    return b"__asan_init" in data or b"__tsan_init" in data


class Mover:
    """The scribe-mover binary, run in a scratch directory that takes reports and logs."""

    def __init__(self, binary, scratch):
        self.binary = os.path.abspath(binary)
        self.scratch = scratch
        self.serial = 0
        if not os.access(self.binary, os.X_OK):
            raise rig.Failure(f"no program at {self.binary}")

    def file(self, kind):
        self.serial += 1
        return self.scratch.file(f"{kind}.{self.serial}")

    def run(self, *args, timeout=300, env=None, measured=False, report=None, wrap=(), **options):
        command = [*wrap, self.binary, *args]
        usage = self.file("usage") if measured else None
        if measured:
            command = [
                sys.executable, "-S", "-E",
                os.path.join(HERE, "measure.py"),
                usage,
                *command,
            ]
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            preexec_fn=rig.die_with_parent,
            **options,
        )
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            child.send_signal(signal.SIGTERM)
            try:
                out, err = child.communicate(timeout=15)
            except subprocess.TimeoutExpired:
                child.kill()
                out, err = child.communicate()
            raise rig.Failure(
                f"{' '.join(map(str, args))} took over {timeout} s\n"
                f"stdout: {_tail(out)}\nstderr: {_tail(err)}"
            ) from error
        except BaseException:
            child.kill()
            raise
        check_sanitizers(err, args[0] if args else "scribe-mover")
        return Done(
            args, child.returncode, out, err,
            _load(usage) if usage else {},
            _load(report) if report else {},
        )

    def _transfer(self, verb, peer, ends, options, keywords):
        report = self.file("report")
        args = [verb, *peer.dial(keywords.pop("port", None)), "--report", report, *options, *ends]
        done = self.run(*args, report=report, **keywords)
        if os.path.exists(report):
            os.unlink(report)
        return done

    def push(self, peer, source, *options, path="", **keywords):
        """`push OPTIONS source root@HOST:path`; port=N: through a relay, measured=True: weighed."""
        return self._transfer("push", peer, [source, peer.at(path)], options, keywords)

    def pull(self, peer, target, *options, path="", **keywords):
        return self._transfer("pull", peer, [peer.at(path), target], options, keywords)


class Keys:
    """A host key and a user key made by `keygen`, and the authorized_keys file that lets it in."""

    def __init__(self, mover, directory, kind="ed25519"):
        os.makedirs(directory, exist_ok=True)
        self.host = os.path.join(directory, "host")
        self.user = os.path.join(directory, "user")
        self.authorized = os.path.join(directory, "authorized_keys")
        for key in (self.host, self.user):
            mover.run("keygen", "--type", kind, key).need(0)
            rig.check(os.stat(key).st_mode & 0o7777 == 0o600, f"{key} is not 0600")
        with open(self.user + ".pub", "rb") as public, open(self.authorized, "wb") as out:
            out.write(public.read())
        os.chmod(self.authorized, 0o644)


class Peer:
    """Something to dial: port, keys, and what to put on the command line for it."""

    def __init__(self, keys):
        self.keys = keys
        self.port = 0
        self.user = "root"

    def dial(self, port=None):
        return [
            "--port",
            str(port or self.port),
            "--identity",
            self.keys.user,
            "--known-host-key",
            self.keys.host + ".pub",
        ]

    def at(self, path=""):
        return f"{self.user}@127.0.0.1:{path}"


def _stop(child, seconds=20):
    child.send_signal(signal.SIGTERM)
    try:
        return child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return None


class Serve(Peer):
    """`scribe-mover serve` as a context manager; ended by SIGTERM and expected to exit with 0.

    root= or source=  the directory served
    env, wrap, extra  environment, a command put in front (setpriv ...), more options
    measured          afterwards .usage has the peak memory, sessions included
    """

    def __init__(
        self, mover, keys,
        root=None,
        source=None,
        env=None,
        wrap=(),
        extra=(),
        measured=False,
        checked=True,
    ):
        super().__init__(keys)
        self.mover, self.env, self.checked = mover, env or {}, checked
        role = ["--root", root] if root is not None else ["--source", source]
        self.usage_path = mover.file("serve-usage") if measured else None
        self.command = [
            *wrap, mover.binary, "serve", *role, "--host-key", keys.host, "--authorized-keys",
            keys.authorized, "--listen", "127.0.0.1", "--port", "0", *extra,
        ]
        if measured:
            self.command = [
                sys.executable, "-S", "-E",
                os.path.join(HERE, "measure.py"),
                self.usage_path,
                *self.command,
            ]
        self.out = mover.file("serve-out")
        self.log = mover.file("serve-err")
        self.usage, self.rc, self.child = {}, None, None

    def _listening(self):
        found = re.search(rb"^listening on (\S+):(\d+)\s*$", read_file(self.out), re.M)
        if found:
            self.port = int(found.group(2))
            return True
        rig.check(
            self.child.poll() is None,
            lambda: f"serve ended with {self.child.poll()}: {_tail(read_file(self.log))}",
        )
        return False

    def __enter__(self):
        with open(self.out, "wb") as out, open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env={**os.environ, **self.env},
                preexec_fn=rig.die_with_parent,
            )
        try:
            rig.eventually(self._listening, 30, "`listening on ADDR:PORT` of serve")
        except BaseException:
            self.child.kill()
            self.child.wait()
            raise
        return self

    def stderr(self):
        return read_file(self.log)

    def __exit__(self, kind, error, trace):
        self.rc = _stop(self.child)
        if self.usage_path:
            self.usage = _load(self.usage_path)
        if kind is not None:
            rig.note(f"serve said: {_tail(self.stderr())}")
            return
        if self.checked:
            check_sanitizers(self.stderr(), "serve")
            rig.check(
                self.rc == 0,
                f"serve ended with {self.rc} on SIGTERM, expected 0: " f"{_tail(self.stderr())}",
            )


SSHD_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {host}
AuthorizedKeysFile {authorized}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 64
MaxSessions 64
LogLevel {level}
"""


class Sshd(Peer):
    """OpenSSH's sshd with a forced command under `restrict`. Needs root, as sshd does."""

    def __init__(self, mover, keys, root=None, source=None, level="INFO"):
        super().__init__(keys)
        rig.need_root("sshd logs in as root")
        rig.need_tool("sshd")
        self.mover, self.level, self.child = mover, level, None
        self.log = mover.file("sshd-err")
        self.authorized = mover.file("sshd-authorized")
        verb, directory = (
            ("receive --root", root) if root is not None else ("send --source", source)
        )
        with open(keys.user + ".pub", encoding="ascii") as public, open(
            self.authorized, "w", encoding="utf-8"
        ) as out:
            command = f"{mover.binary} {verb} {directory}"
            out.write(f'restrict,command="{command}" {public.read().strip()}\n')

    def _write_config(self):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        config = self.mover.file("sshd-config")
        with open(config, "w", encoding="utf-8") as out:
            out.write(
                SSHD_CONFIG.format(
                    port=self.port,
                    host=self.keys.host,
                    authorized=self.authorized,
                    level=self.level,
                )
            )
        return config

    def _reachable(self):
        rig.check(self.child.poll() is None, lambda: f"sshd ended: {_tail(read_file(self.log))}")
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def __enter__(self):
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        command = [rig.find_tool("sshd"), "-D", "-e", "-f", self._write_config()]
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=rig.die_with_parent,
            )
        try:
            rig.eventually(self._reachable, 15, "sshd to listen")
        except BaseException:
            self.child.kill()
            raise
        return self

    def stderr(self):
        return read_file(self.log)

    def __exit__(self, kind, error, trace):
        _stop(self.child)
        if kind is not None:
            rig.note(f"sshd said: {_tail(self.stderr())}")


def settled(test, seconds=10):
    """Polls until test() is true or the time is over; the last value."""
    deadline = time.monotonic() + seconds
    value = test()
    while not value and time.monotonic() < deadline:
        time.sleep(0.05)
        value = test()
    return value
