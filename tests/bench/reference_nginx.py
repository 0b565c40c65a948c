"""nginx with the agent's answers as files."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench import process
from tests.bench.rounds import Target
from tests.support.rabbitmq import free_port

CONFIG = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    default_type application/json;
    etag off;
    add_header Cache-Control no-store;
    add_header X-Beacond-Index 1;
    add_header Last-Modified "";
{how}
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
    }}
}}
"""
PACKAGED = "    sendfile on;\n    tcp_nopush on;"
"""As Debian's own settings have it: each answer opens its file."""
KEPT_OPEN = "    sendfile off;\n    open_file_cache max=1000 inactive=1h;"
"""What was fastest here of nginx's means for small files."""
READY_WITHIN_S = 10.0


@contextmanager
def nginx(folder: Path, bodies: Mapping[str, bytes], *, name: str, how: str) -> Iterator[Target]:
    """`bodies` by path. Only where it is installed."""
    port = free_port()
    for path, body in bodies.items():
        file = folder / "files" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, user=process.user(), how=how))
    log = folder / "error.log"
    server = process.start_server("nginx", "-c", config, "-p", folder, "-e", log)
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        # The master writes this file when it listens, and then starts its worker.
        while len(pids := process.family(server.pid)) < 2:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx does not start: {log.read_text()}")
            time.sleep(0.02)
        yield Target(name, port, pids)
    finally:
        process.end_server(server)
