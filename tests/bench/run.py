"""Measures stackhook, adnanh/webhook and a plain tiny_http in turn, and prints tables. Started by .ci/bench.

Ends only the processes that it started. Speed never fails the run; a wrong answer does.
"""

import argparse
import atexit
import hashlib
import hmac
import http.client
import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SECRET = "secret-of-the-benchmark-0123456789"
PASSWORD = "password-of-the-benchmark"
TICKS = os.sysconf("SC_CLK_TCK")
BIG = 200_000_000
BURST = 1000


def signature(body):
    return "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def padded(event, size, **more):
    """A JSON object of exactly this size (bytes)."""
    bare = json.dumps({"event": event, **more, "padding": ""}).encode()
    return bare[:-2] + b"x" * (size - len(bare)) + bare[-2:]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def request(port, method, path, body=None, headers=None):
    """One request on a connection of its own: status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, {"Connection": "close", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def signed(port, path, body, right=True, **more):
    mark = signature(body) if right else "sha256=" + "0" * 64
    headers = {"Content-Type": "application/json", "X-Portainer-Signature": mark, **more}
    return request(port, "POST", path, body, headers)


class Server:
    """One of the three programs, and the requests that it gets."""

    def __init__(self, name, program, arguments, hook, health, rejected, environment=None):
        self.name, self.program, self.arguments = name, program, arguments
        self.hook, self.health, self.rejected = hook, health, rejected
        self.environment = environment or (lambda port: {})
        self.process = None
        self.port = None

    def start(self):
        """Starts the program. Returns the time until its first answer (seconds)."""
        self.port = free_port()
        arguments = [self.program] + self.arguments(self.port)
        began = time.perf_counter()
        self.process = subprocess.Popen(
            arguments, env=self.environment(self.port), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=work)
        while True:
            try:
                status, _, _ = request(self.port, "GET", self.health)
                assert status == 200, f"{self.name} is not healthy: {status}"
                return time.perf_counter() - began
            except (ConnectionError, http.client.HTTPException):
                if self.process.poll() is not None:
                    raise SystemExit(f"{self.name} ended with {self.process.returncode}")
                if time.perf_counter() - began > 10:
                    raise SystemExit(f"{self.name} does not answer")

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def memory(self, field="VmRSS"):
        """Its memory (MB); 0 if it has ended."""
        try:
            with open(f"/proc/{self.process.pid}/status") as status:
                for line in status:
                    if line.startswith(field + ":"):
                        return int(line.split()[1]) * 1024 / 1e6
        except (OSError, AttributeError):
            pass
        return 0

    def cpu(self):
        """The CPU time of its own threads (microseconds), without processes that it starts."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000 // TICKS


class Peak:
    """Records the highest memory of a server."""

    def __init__(self, server):
        self.server, self.most, self.over = server, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.over.wait(0.05):
            self.most = max(self.most, self.server.memory())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


CASES = {
    "rejected": "rejected POST (1 KiB, wrong signature)",
    "ignored": "accepted and ignored POST (1 KiB)",
    "404": "404 (GET)",
    "health": "health (GET)",
}


def wrk_arguments(server, case, kept):
    connection = "keep-alive" if kept else "close"
    path = {"404": "/nothing/here", "health": server.health}.get(case, server.hook)
    url = f"http://127.0.0.1:{server.port}{path}"
    if case in ("404", "health"):
        return url, ["GET", connection]
    mark = signature(PING) if case == "ignored" else "sha256=" + "0" * 64
    return url, ["POST", connection, body_file, mark]


def check_answers(server):
    """Checks the answers before anything is measured."""
    expected = {"rejected": server.rejected, "ignored": 200, "404": 404, "health": 200}
    got = {
        "rejected": signed(server.port, server.hook, PING, right=False)[0],
        "ignored": signed(server.port, server.hook, PING)[0],
        "404": request(server.port, "GET", "/nothing/here")[0],
        "health": request(server.port, "GET", server.health)[0],
    }
    assert got == expected, f"{server.name} answers {got} instead of {expected}"


def load(server, case, connections, kept=False):
    url, arguments = wrk_arguments(server, case, kept)
    threads = 1 if connections == 1 else 2
    before = server.cpu()
    output = subprocess.run(
        ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "-s", f"{HERE}/load.lua", url, "--"] + arguments,
        capture_output=True, text=True, timeout=seconds + 60, check=True)
    figures = json.loads(output.stdout.strip().splitlines()[-1])
    done = max(figures["requests"], 1)
    fine = case in ("ignored", "health")
    assert figures["refused"] == (0 if fine else figures["requests"]), f"{server.name}, {case}: {figures}"
    return {
        "rate": figures["requests"] * 1e6 / figures["microseconds"],
        "p50": figures["p50"] / 1000,
        "p99": figures["p99"] / 1000,
        "cpu": (server.cpu() - before) / done,
        "broken": figures["broken"],
    }


def median(values):
    return statistics.median(values)


def number(value):
    """Three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def say(text):
    print(text, file=sys.stderr, flush=True)


def throughput(servers):
    """Runs every case on all servers in turn; each round begins with another server."""
    runs = [(case, connections, False) for case in CASES for connections in (1, 32, 64)]
    runs += [(case, 32, True) for case in CASES]
    results, broken = {}, {}
    peaks = {server.name: 0 for server in servers}
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        order = servers[turn % len(servers):] + servers[:turn % len(servers)]
        for case, connections, kept in runs:
            for server in order:
                if kept and server.name == "stackhook":
                    continue
                with Peak(server) as peak:
                    got = load(server, case, connections, kept)
                if not kept:
                    peaks[server.name] = max(peaks[server.name], peak.most)
                results.setdefault((case, connections, kept, server.name), []).append(got)
                broken[server.name] = broken.get(server.name, 0) + got["broken"]
    names = [server.name for server in servers]

    def cell(case, connections, kept, name, what):
        values = results.get((case, connections, kept, name))
        return median([one[what] for one in values]) if values else None

    def row(case, connections, kept):
        rates = [cell(case, connections, kept, name, "rate") for name in names]
        shown = [number(rate) if rate is not None else "–" for rate in rates]
        ratio = f"{rates[0] / rates[1]:.2f}" if rates[0] is not None else "–"
        more = []
        for what in ("p50", "p99", "cpu"):
            values = [cell(case, connections, kept, name, what) for name in names]
            more.append(" / ".join(number(value) if value is not None else "–" for value in values))
        return [CASES[case], str(connections), *shown, ratio, *more]

    head = ["request", "connections", *(f"{name}, a second" for name in names), "stackhook ÷ webhook",
            "p50, ms: " + " / ".join(names), "p99, ms", "CPU a request, µs"]
    print(f"A connection for each request, medians of {rounds} rounds of {seconds} s:\n")
    table(head, [row(*run) for run in runs if not run[2]])
    print("Connections kept open, which stackhook never does (one request a connection keeps its server simple):\n")
    table(head, [row(*run) for run in runs if run[2]])
    if any(broken.values()):
        print("Connections that were found closed or timed out: "
              + ", ".join(f"{name} {count:,}" for name, count in broken.items())
              + ". (tiny_http does not say that it closes a connection, so the generator tries each one once more.)\n")
    return peaks


def big_body(server):
    """Sends one validly signed body of 200 MB. Describes the answer, its time, and the memory used."""
    server.start()
    head = (f"POST {server.hook} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {BIG}\r\n"
            f"X-Portainer-Signature: {signature(big)}\r\nConnection: close\r\n\r\n").encode()
    began = time.perf_counter()
    answer = b""
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        try:
            connection.sendall(head)
            view = memoryview(big)
            while sent < BIG:
                sent += connection.send(view[sent:sent + 1_000_000])
        except OSError:
            pass  # Rejected in the middle; the answer may have arrived all the same.
        try:
            while piece := connection.recv(65536):
                answer += piece
        except OSError:
            pass
    took = time.perf_counter() - began
    peak = server.memory("VmHWM")
    server.stop()
    status = answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else "no answer"
    return f"{status} after {number(took * 1000)} ms and {sent / 1e6:.0f} MB, at most {number(peak)} MB of memory"


def deliver_burst(server, **headers):
    """Sends the burst, 32 at a time. Returns the total time, and the time and answer of each."""
    now = int(time.time())
    bodies = [padded("stack_update", 1024, id=f"burst-{index}", time=now) for index in range(BURST)]
    results, lock, pending = [], threading.Lock(), iter(bodies)

    def client():
        while True:
            with lock:
                body = next(pending, None)
            if body is None:
                return
            began = time.perf_counter()
            got = signed(server.port, server.hook, body, **headers)
            with lock:
                results.append((time.perf_counter() - began, got))

    began = time.perf_counter()
    in_threads(client, 32)
    return time.perf_counter() - began, results


def in_threads(work, count):
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def burst_of_stackhook(server):
    server.start()
    command_stand_in("push 1000")
    updates = int(command_stand_in("updates"))
    began = time.perf_counter()
    answered, results = deliver_burst(server, Prefer="respond-async")
    statuses = [got[0] for _, got in results]
    urls = [got[1]["Location"] for _, got in results if got[0] == 202]
    ends, lock = {}, threading.Lock()

    def follow():
        while True:
            with lock:
                url = urls.pop() if urls else None
            if url is None:
                return
            while True:
                status, _, body = request(server.port, "GET", url, headers={"Prefer": "wait=20"})
                if status != 202:
                    break
            with lock:
                end = json.loads(body)["status"]
                ends[end] = ends.get(end, 0) + 1

    in_threads(follow, 16)
    over = time.perf_counter() - began
    updates = int(command_stand_in("updates")) - updates
    peak = server.memory("VmHWM")
    server.stop()
    told = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    return describe_burst(answered, results, statuses, f"{updates} update{'s' if updates != 1 else ''} sent to Portainer", over, told, peak)


def burst_of_webhook(server):
    server.start()
    done = os.path.join(work, "done")
    open(done, "w").close()
    began = time.perf_counter()
    answered, results = deliver_burst(server)
    statuses = [got[0] for _, got in results]
    with open(done) as lines:
        while time.perf_counter() - began < 120:
            if sum(1 for _ in lines) >= BURST:
                break
            lines.seek(0)
            time.sleep(0.01)
        lines.seek(0)
        jobs = sum(1 for _ in lines)
    over = time.perf_counter() - began
    peak = server.memory("VmHWM")
    server.stop()
    return describe_burst(answered, results, statuses, f"{jobs} commands", over, "none can ask how its command ended", peak)


def describe_burst(answered, results, statuses, jobs, over, told, peak):
    times = sorted(took for took, _ in results)
    codes = ", ".join(f"{statuses.count(code)} × {code}" for code in sorted(set(statuses)))
    return (f"{jobs}; {codes}, all within {number(answered)} s (p50 {number(times[len(times) // 2] * 1000)} ms, "
            f"slowest {number(times[-1] * 1000)} ms); all finished after {number(over)} s: {told}; at most {number(peak)} MB of memory")


def command_stand_in(text):
    with socket.create_connection(orders, timeout=10) as connection:
        connection.sendall(text.encode() + b"\n")
        return connection.makefile().read().strip()


PATIENCE = 10


def honest_times(server, count):
    """Sends signed deliveries one after the other from an address of their own. Returns their times, sorted (milliseconds), or None
    if another server than stackhook leaves one without an answer."""
    request_bytes = (f"POST {server.hook} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(PING)}\r\n"
                     f"X-Portainer-Signature: {signature(PING)}\r\nConnection: close\r\n\r\n").encode() + PING
    times = []
    for _ in range(count):
        began = time.perf_counter()
        with socket.socket() as connection:
            connection.settimeout(PATIENCE)
            try:
                connection.bind(("127.0.0.2", 0))
                connection.connect(("127.0.0.1", server.port))
                connection.sendall(request_bytes)
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
            except OSError:
                if server.name == "stackhook":
                    raise
                return None
        times.append((time.perf_counter() - began) * 1000)
        assert answer.startswith(b"HTTP/1.1 200"), f"{server.name}: {answer[:80]}"
    return sorted(times)


def percentiles(times):
    return f"{number(times[len(times) // 2])} / {number(times[len(times) * 99 // 100])}"


def open_slow_connections(server, count):
    """Opens connections whose heads and bodies never become complete, from 50 addresses."""
    starts = [b"GET /healthz HTTP/1.1\r\nX: ", b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\nx", b""]
    connections = []
    for index in range(count):
        connection = socket.socket()
        connection.settimeout(10)
        connection.bind((f"127.0.1.{index % 50 + 1}", 0))
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(starts[index % 3])
        connection.setblocking(False)
        connections.append(connection)
    return connections


def growth():
    """Honest deliveries beside slow connections. A server closes these after some seconds, so each row is short."""
    rows = []
    for count in (0, 10, 100, 1000, 2000):
        cells = []
        for server in servers:
            server.start()
            honest_times(server, 20)
            before = server.memory()
            slow = open_slow_connections(server, count)
            time.sleep(0.2)
            each = (server.memory() - before) * 1000 / count if count else 0
            stop = threading.Event()
            trickler = threading.Thread(target=trickle, args=(slow, stop))
            trickler.start()
            times = honest_times(server, 500)
            stop.set()
            trickler.join()
            for connection in slow:
                connection.close()
            server.stop()
            cells.append((percentiles(times) if times else f"no answer within {PATIENCE} s") + (f"; {number(each)} kB" if count else ""))
        rows.append([f"{count:,}", *cells])
    print("A signed delivery beside slow connections (heads and bodies that trickle, silent ones): p50 / p99, ms; memory for each:\n")
    table(["slow connections", *(server.name for server in servers)], rows)


def trickle(connections, stop):
    while not stop.wait(0.5):
        for index, connection in enumerate(connections):
            try:
                if index % 3 != 2:
                    connection.send(b"x")
            except OSError:
                pass


def waiting_clients(count=512):
    """Clients that wait for one update. Describes the memory, the honest requests beside them, and the time until all are answered."""
    server = servers[0]
    server.start()
    honest_times(server, 20)
    before = server.memory()
    command_stand_in("push 8000")
    statuses, lock = [], threading.Lock()
    threading.stack_size(256 * 1024)

    def client(index):
        own = padded("stack_update", 1024, id=f"waiter-{index}", time=int(time.time()))
        status, _, _ = signed(server.port, server.hook, own, Prefer="wait=60")
        with lock:
            statuses.append(status)

    threads = [threading.Thread(target=client, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    with lock:
        early = len(statuses)
    memory, thread_count = server.memory(), len(os.listdir(f"/proc/{server.process.pid}/task"))
    times = honest_times(server, 300)
    for thread in threads:
        thread.join()
    server.stop()
    codes = ", ".join(f"{statuses.count(code)} × {code}" for code in sorted(set(statuses)))
    print(f"{count} deliveries that wait for their outcome: {codes}, {early} of them early; {number((memory - before) * 1000 / count)} kB "
          f"for each, {thread_count} threads; a signed delivery meanwhile takes {percentiles(times)} ms (p50 / p99).\n")


def size_of(path):
    return os.path.getsize(path) / 1e6


def machine():
    with open("/proc/cpuinfo") as cpuinfo:
        names = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    with open("/proc/meminfo") as meminfo:
        memory = int(meminfo.readline().split()[1]) / 1024 / 1024
    peer = subprocess.run(["webhook", "-version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    generator = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split()[1]
    stackhook = subprocess.run([arguments.stackhook, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    load_before = os.getloadavg()[0]
    print(f"{stackhook} (static musl), adnanh/webhook {peer} (Debian), plain tiny_http 0.12 with the same handler; wrk {generator}. "
          f"{len(names)} cores that the load generator shares ({names[0] if names else platform.machine()}), {memory:.0f} GB, "
          f"Linux {platform.release()}, all on loopback; load before the run {load_before:.1f}.\n")


def define_servers():
    hooks = os.path.join(work, "hooks.json")
    command = os.path.join(work, "command")
    with open(command, "w") as script:
        script.write(f"#!/bin/sh\nsleep 1\necho done >>{work}/done\n")
    os.chmod(command, 0o755)
    rules = [
        {"match": {"type": "payload-hmac-sha256", "secret": SECRET,
                   "parameter": {"source": "header", "name": "X-Portainer-Signature"}}},
        {"match": {"type": "value", "value": "stack_update", "parameter": {"source": "payload", "name": "event"}}},
    ]
    with open(hooks, "w") as file:
        json.dump([{"id": "update", "execute-command": command, "trigger-rule": {"and": rules}}], file)

    def of_stackhook(port):
        state = os.path.join(work, "state")
        os.makedirs(state, mode=0o700, exist_ok=True)
        return {
            "PORTAINER_URL": f"http://{portainer}", "PORTAINER_USER": "admin", "PORTAINER_PASSWORD": PASSWORD,
            "PORTAINER_STACK_NAME": "app-stack", "PORTAINER_WEBHOOK_SECRET": SECRET,
            "STACKHOOK_LISTEN": f"127.0.0.1:{port}", "STACKHOOK_STATE_DIR": state,
        }

    stackhook = Server("stackhook", os.path.abspath(arguments.stackhook), lambda port: ["serve"], "/webhook/update/", "/healthz",
                       401, of_stackhook)
    webhook = Server("webhook", shutil.which("webhook"),
                     lambda port: ["-hooks", hooks, "-ip", "127.0.0.1", "-port", str(port)], "/hooks/update", "/", 500)
    plain = Server("plain", os.path.abspath(arguments.plain), lambda port: [f"127.0.0.1:{port}", SECRET], "/webhook/update/",
                   "/healthz", 401)
    return stackhook, webhook, plain


def start_stand_in():
    process = subprocess.Popen([arguments.stand_in, "127.0.0.1:0", "127.0.0.1:0"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    started.append(process)
    process.stdin.write(PASSWORD + "\n")
    process.stdin.close()
    _, at, orders_at = process.stdout.readline().split()
    host, port = orders_at.rsplit(":", 1)
    return at, (host, int(port))


def clean_up():
    for server in servers:
        server.stop()
    for process in started:
        process.kill()
        process.wait()
    shutil.rmtree(work, ignore_errors=True)


def main():
    machine()
    starts = {}
    for server in servers:
        say(f"starts of {server.name}")
        times = []
        for _ in range(20 if rounds > 1 else 3):
            times.append(server.start() * 1000)
            server.stop()
        starts[server.name] = times
    idle = {}
    for server in servers:
        server.start()
    time.sleep(1)
    for server in servers:
        idle[server.name] = server.memory()
        check_answers(server)
    under_load = throughput(servers)
    time.sleep(2)
    after = {server.name: server.memory() for server in servers}
    for server in servers:
        server.stop()
    say("slow connections and waiting clients")
    growth()
    waiting_clients()
    say("one body of 200 MB, and a burst")
    stackhook, webhook, plain = servers
    bodies = [big_body(server) for server in servers]
    bursts = [burst_of_stackhook(stackhook), burst_of_webhook(webhook), "–"]

    def row(what, values):
        return [what, *(number(values[server.name]) for server in servers)]

    image = f"{size_of(arguments.image):.2f}"
    rows = [
        row("resident memory 1 s after the start, MB", idle),
        row("the same under load, at most, MB", under_load),
        row("the same 2 s later, MB", after),
        row("start to first answer, median, ms", {name: median(times) for name, times in starts.items()}),
        ["binary, MB", *(f"{size_of(server.program):.2f}" for server in servers)],
        ["image as pulled (compressed), MB", image, "none of its own", "–"],
        ["one body of 200 MB, validly signed", *bodies],
        [f"burst of {BURST:,} valid deliveries, 32 at a time, a job of about a second", *bursts],
    ]
    table(["", *(server.name for server in servers)], rows)


parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--seconds", type=int, default=3)
for name in ("--stackhook", "--image", "--plain", "--stand-in"):
    parser.add_argument(name, required=True)
arguments = parser.parse_args()
rounds, seconds = arguments.rounds, arguments.seconds
started, servers = [], []
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
work = tempfile.mkdtemp()
atexit.register(clean_up)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
PING = padded("ping", 1024)
big = padded("ping", BIG)
body_file = os.path.join(work, "body")
with open(body_file, "wb") as file:
    file.write(PING)
portainer, orders = start_stand_in()
servers.extend(define_servers())
main()
