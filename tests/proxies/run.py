"""Attacks stackhook through reverse proxies. Started by .ci/proxies.

Every proxy lets only /webhook/update/ and /webhook/deliveries/ through. The hook "inner" is behind another path, so a delivery to it
that is accepted has got past the proxy: by a request inside a request, or by a path that the two read differently. Ends only the
processes that it started.
"""

import atexit
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

SECRET = "secret-of-the-proxy-tests-0123456789"
CLIENT = "127.0.0.77"

AMBIGUOUS_LENGTHS = [
    "Content-Length: -5",
    "Content-Length: +ALL",
    "Content-Length: ALL, ALL",
    "Content-Length: 0x5",
    "Content-Length: ALL ",
    "Content-Length: ALL\r\nContent-Length: ALL",
    "Content-Length: 0\r\nContent-Length: ALL",
    "Content-Length: ALL\r\nContent-Length: 0",
    "Content-Length: ALL\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: ALL",
    "Transfer-Encoding: xchunked\r\nContent-Length: ALL",
    "Transfer-Encoding : chunked\r\nContent-Length: ALL",
    " Transfer-Encoding: chunked",
    "X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: ALL",
    "X: y\r\n\tContent-Length: 0\r\nContent-Length: ALL",
    "X: y\rContent-Length: 0\r\nContent-Length: ALL",
    "X: y\nContent-Length: 0\r\nContent-Length: ALL",
    "X: y\nTransfer-Encoding: chunked\r\nContent-Length: ALL",
    "Transfer-Encoding:\x0bchunked\r\nContent-Length: ALL",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\nContent-Length: ALL",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\nContent-Length: ALL",
    "Transfer-Encoding: chunked, identity\r\nContent-Length: ALL",
    "Transfer-Encoding: identity\r\nContent-Length: ALL",
    "Transfer-Encoding: \"chunked\"\r\nContent-Length: ALL",
    "Transfer\0Encoding: chunked\r\nContent-Length: ALL",
    "Content-Length : 0\r\nContent-Length: ALL",
    "Connection: close, Content-Length\r\nContent-Length: ALL",
    "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked",
    "Content_Length: 0\r\nContent-Length: ALL",
    "Expect: 100-continue\r\nContent-Length: ALL\r\nTransfer-Encoding: chunked",
]
BETWEEN = ["", "0\r\n\r\n", "\r\n", "1\r\nZ\r\n0\r\n\r\n", "0;\n\r\n\r\n", "0\n\n", "0\r\n\n", "1\r\nxx\r\n0\r\n\r\n"]

# Everything that could be read as /webhook/update/inner/ by us, and as something permitted by a proxy.
PATHS = [
    "/webhook/update/inner", "/webhook/update/inner/", "//webhook/update/inner/", "/webhook//update/inner/",
    "/webhook/update//inner/", "/webhook/update/./inner/", "/webhook/update/x/../inner/", "/webhook/update/%69nner/",
    "/webhook/update/%2569nner/", "/webhook/update/%2e/inner/", "/webhook/update/%2e%2e/update/inner/",
    "/webhook/update/inner/..", "/webhook/update/inner/../", "/webhook/update/inner/%2e%2e/", "/webhook/update/inner/.%2e/",
    "/webhook/update/inner%2f..%2f", "/webhook/update/inner%2F../", "/webhook/update/%2finner/", "/webhook/update%2finner/",
    "/webhook/update/inner%5c..%5c", "/webhook/update/inner\\..\\", "/webhook/update/;/inner/", "/webhook/update/inner;x/",
    "/webhook/update/inner/?", "/webhook/update/inner/?/../../update/", "/webhook/update/?/inner/", "/webhook/update/#/inner/",
    "/webhook/update/inner/#", "/webhook/update/%00inner/", "/webhook/update/inner/%00", "/webhook/update/inner%0d%0a/",
    "/WEBHOOK/UPDATE/INNER/", "/webhook/update/INNER/", "/x/../webhook/update/inner/", "/./webhook/update/inner/",
    "/webhook/deliveries/../update/inner/", "/webhook/deliveries/%2e%2e/update/inner/", "/webhook/deliveries/..%2fupdate%2finner/",
    "/webhook/deliveries/..;/update/inner/", "/webhook/update/../update/inner/", "http://HOST/webhook/update/inner/",
    "http://other/webhook/update/inner/", "http://HOST/webhook/update/../update/inner/", "/webhook/update/ï¼¯inner/",
    "/webhook/update/inner/\t", "/webhook/update/ inner/", "/webhook/update/inner HTTP/1.1\r\nX: /", "*", "webhook/update/inner/",
]


def signature(body):
    return "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def delivery(path, body, *lines):
    head = [f"POST {path} HTTP/1.1", "Host: HOST", "Connection: close", "Prefer: respond-async",
            f"X-Portainer-Signature: {signature(body)}", *lines]
    return "\r\n".join(head + ["", ""]).encode("latin-1") + body


def ping(path, *lines):
    body = b'{"event":"ping"}'
    return delivery(path, body, f"Content-Length: {len(body)}", *lines)


def inner_delivery(path="/webhook/update/inner/"):
    body = b"{}"
    return delivery(path, body, f"Content-Length: {len(body)}")


def exchange(port, request, patience=3):
    """Sends the bytes; returns everything that comes back until the connection is closed or silent."""
    request = request.replace(b"HOST", f"127.0.0.1:{port}".encode())
    received = b""
    with socket.socket() as connection:
        connection.settimeout(patience)
        connection.bind((CLIENT, 0))
        connection.connect(("127.0.0.1", port))
        try:
            connection.sendall(request)
            while piece := connection.recv(65536):
                received += piece
        except OSError:
            pass
    return received


def status(reply):
    words = reply.split(b" ", 2)
    return int(words[1]) if reply.startswith(b"HTTP/1.") and words[1].isdigit() else 0


class Program:
    """A child process with its log in a file."""

    def __init__(self, arguments, environment=None):
        self.log_path = os.path.join(work, f"log-{len(started)}")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(arguments, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=work)
        started.append(self.process)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_until_ready(self, port):
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        raise SystemExit(f"it does not listen:\n{self.log()}")


def start_stackhook(program):
    port = free_port()
    config = os.path.join(work, "stackhook.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"""listen = "127.0.0.1:{port}"
log = "debug"
trusted_proxies = ["127.0.0.1"]
[portainer]
url = "http://127.0.0.1:9"
api_key = "ptr_of-no-importance"
[[stack]]
name = "shop"
[[hook]]
name = "update"
secret = "{SECRET}"
stacks = ["shop"]
[[hook]]
name = "inner"
secret = "{SECRET}"
stacks = ["shop"]
""")
    os.chmod(config, 0o600)
    server = Program([program, "serve", "--config", config], {"PATH": os.environ["PATH"]})
    server.wait_until_ready(port)
    return server, port


NGINX = """
daemon off; master_process off; pid WORK/nginx.pid; error_log stderr;
events { worker_connections 512; }
http {
    access_log off; client_body_temp_path WORK/body; proxy_temp_path WORK/proxy; fastcgi_temp_path WORK/f; uwsgi_temp_path WORK/u; scgi_temp_path WORK/s;
    upstream stackhook { server 127.0.0.1:BACK; keepalive 8; }
    server {
        listen 127.0.0.1:FRONT;
        proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr; proxy_request_buffering off;
        location = /webhook/update/ { proxy_pass http://stackhook; }
        location /webhook/deliveries/ { proxy_pass http://stackhook; }
        location / { return 403; }
    }
}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend front
    bind 127.0.0.1:FRONT
    option forwardfor
    http-request deny unless { path /webhook/update/ } or { path_beg /webhook/deliveries/ }
    default_backend stackhook
backend stackhook
    http-reuse always
    server one 127.0.0.1:BACK
"""

APACHE = """
ServerRoot WORK
ServerName 127.0.0.1
Listen 127.0.0.1:FRONT
PidFile WORK/apache.pid
ErrorLog WORK/apache.log
Mutex file:WORK default
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
User nobody
Group nogroup
AllowEncodedSlashes NoDecode
ProxyPreserveHost On
<Location "/">
    Require all denied
</Location>
<LocationMatch "^/webhook/(update/$|deliveries/)">
    Require all granted
</LocationMatch>
ProxyPass / http://127.0.0.1:BACK/ nocanon
"""

CADDY = """
{
    admin off
    auto_https off
}
http://:FRONT {
    bind 127.0.0.1
    @permitted path /webhook/update/ /webhook/deliveries/*
    handle @permitted {
        reverse_proxy 127.0.0.1:BACK
    }
    respond 403
}
"""


def start_proxy(name, back):
    front = free_port()
    text = {"nginx": NGINX, "haproxy": HAPROXY, "apache": APACHE, "caddy": CADDY}[name]
    config = os.path.join(work, f"{name}.conf")
    with open(config, "w", encoding="utf-8") as file:
        file.write(text.replace("WORK", work).replace("FRONT", str(front)).replace("BACK", str(back)))
    arguments = {
        "nginx": ["nginx", "-p", work, "-c", config],
        "haproxy": ["haproxy", "-f", config],
        "apache": ["apache2", "-X", "-f", config],
        "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", config],
    }[name]
    environment = {**os.environ, "HOME": work, "XDG_DATA_HOME": work, "XDG_CONFIG_HOME": work}
    proxy = Program(arguments, environment)
    proxy.wait_until_ready(front)
    return proxy, front


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, is_right, what, detail=""):
        if is_right:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED  {what}: {detail!r}")


def inner_accepted(server):
    return sum("delivery accepted" in line and "inner" in line for line in server.log().splitlines())


def ordinary_requests(checks, name, server, port):
    reply = exchange(port, ping("/webhook/update/"))
    checks.check(status(reply) == 200 and b"Delivery ignored" in reply, f"{name}: a signed delivery is answered", reply)
    checks.check(b"no-store" in reply, f"{name}: replies must not be cached", reply)
    body = b'{"event":"ping"}'
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    chunked = delivery("/webhook/update/", body, "Transfer-Encoding: chunked")[:-len(body)] + chunks
    reply = exchange(port, chunked)
    checks.check(status(reply) == 200, f"{name}: a chunked delivery is answered", reply)
    reply = exchange(port, inner_delivery())
    checks.check(status(reply) in (403, 404), f"{name}: the proxy blocks the other hook", reply)
    wrong = ping("/webhook/update/").replace(b"sha256=", b"sha256=0")
    reply = exchange(port, wrong)
    checks.check(status(reply) == 401, f"{name}: a wrong signature is rejected", reply)
    checks.check(f"peer={CLIENT}" in server.log(), f"{name}: the log names the client", server.log()[-500:])
    forged = ping("/webhook/update/", "X-Forwarded-For: 192.0.2.99").replace(b"sha256=", b"sha256=0")
    exchange(port, forged)
    checks.check("192.0.2.99" not in server.log(), f"{name}: a forged X-Forwarded-For is not believed")
    statuses = [status(exchange(port, ping("/webhook/update/"))) for _ in range(100)]
    checks.check(statuses == [200] * 100, f"{name}: a hundred deliveries in a row are answered", statuses)
    large = delivery("/webhook/update/", b"x" * 2_000_000, "Content-Length: 2000000")
    checks.check(status(exchange(port, large)) == 413, f"{name}: a body that is too large gets 413")


def smuggling(checks, name, server, port):
    inner = inner_delivery()
    for lines in AMBIGUOUS_LENGTHS:
        for start in ("POST /webhook/update/ HTTP/1.1", "GET /webhook/deliveries/0/ HTTP/1.1", "POST /webhook/update/ HTTP/1.0"):
            before = inner_accepted(server)
            for between in BETWEEN:
                behind = between.encode() + inner
                outer = f"{start}\r\nHost: HOST\r\n{lines.replace('ALL', str(len(behind)))}\r\n\r\n".encode("latin-1")
                exchange(port, outer + behind, patience=0.4)
            checks.check(inner_accepted(server) == before, f"{name}: nothing is smuggled by {start}", lines)
    reply = exchange(port, ping("/webhook/update/"))
    checks.check(status(reply) == 200, f"{name}: the next delivery gets its own reply", reply)


def paths(checks, name, server, port):
    for path in PATHS:
        before = inner_accepted(server)
        reply = exchange(port, inner_delivery(path), patience=1)
        checks.check(inner_accepted(server) == before, f"{name}: no path leads around the proxy", (path, reply[:60]))


def expectations(checks, name, port):
    body = b'{"event":"ping"}'
    request = delivery("/webhook/update/", body, "Expect: 100-continue", f"Content-Length: {len(body)}")
    reply = exchange(port, request).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    checks.check(status(reply) == 200, f"{name}: Expect: 100-continue is answered", reply)
    request = delivery("/webhook/update/", body, "Expect: the-unexpected", f"Content-Length: {len(body)}")
    reply = exchange(port, request)
    checks.check(status(reply) in (400, 417, 200), f"{name}: an unknown expectation does no harm", reply)


def upgrades(checks, name, port):
    for upgrade in ("h2c", "HTTP/2.0", "websocket", "h2c, websocket"):
        lines = [f"Upgrade: {upgrade}", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"]
        request = ping("/webhook/update/", *lines).replace(b"Connection: close", b"Connection: Upgrade, HTTP2-Settings")
        reply = exchange(port, request, patience=1)
        is_right = status(reply) in (200, 400) and b" 101 " not in reply
        checks.check(is_right, f"{name}: an upgrade to {upgrade} is ignored", reply)
    reply = exchange(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", patience=1)
    checks.check(status(reply) in (0, 400, 403, 405, 505), f"{name}: HTTP/2 with prior knowledge is refused", reply)


def main():
    program, names = sys.argv[1], sys.argv[2:]
    checks = Checks()
    server, back = start_stackhook(program)
    expectations(checks, "direct", back)
    upgrades(checks, "direct", back)
    for name in names:
        before = checks.passed, checks.failed
        proxy, port = start_proxy(name, back)
        ordinary_requests(checks, name, server, port)
        paths(checks, name, server, port)
        expectations(checks, name, port)
        upgrades(checks, name, port)
        smuggling(checks, name, server, port)
        # Nothing was smuggled, though a delivery to that hook is accepted when it arrives.
        direct = exchange(back, inner_delivery())
        checks.check(status(direct) == 202 and inner_accepted(server) > 0, f"{name}: the other hook works", direct)
        checks.check("panicked" not in server.log(), f"{name}: nothing panics")
        proxy.process.terminate()
        proxy.process.wait(10)
        print(f"{name}: {checks.passed - before[0]} checks passed, {checks.failed - before[1]} failed")
    print(f"proxies: {checks.passed} passed, {checks.failed} failed")
    sys.exit(checks.failed > 0)


def clean_up():
    for process in started:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    shutil.rmtree(work, ignore_errors=True)


started = []
work = tempfile.mkdtemp()
os.chmod(work, 0o755)
atexit.register(clean_up)
main()
