#!/usr/bin/env bash
# Versions: mlflow 3.17.2 (its default server, uvicorn), Python 3.11.
#
# Expected: a server started with `--host <address>` accepts requests for that address, and its health check shows whether
#   clients can use it.
#
# Seen: a server accepts requests only for localhost, 127.0.0.1 and private addresses, even if --host names another one:
#   403 "Invalid Host header - possible DNS rebinding attack detected" for every API route and page,
#   for every host name, FQDN and shared address (100.64/10). /health and /version are exempt, so probes stay green:
#     GET http://127.0.0.2:PORT/health                      200 OK
#     GET http://127.0.0.2:PORT/api/2.0/mlflow/experiments  403 Invalid Host header
#   The client reports `PERMISSION_DENIED`, as for a wrong password. The cure is --allowed-hosts name:port. It replaces
#   the defaults, so localhost must be listed again.
#
# Matters because: a run sent to a new server never arrives, monitoring is green, and the error suggests a missing token.
#   `ranklog doctor` checks an API route, and ranklog's error names --allowed-hosts.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q mlflow==3.17.2
cd "$folder"
MLFLOW_DISABLE_TELEMETRY=true venv/bin/python - <<'PY'
import os, signal, socket, subprocess, sys, time, urllib.error, urllib.request

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


HOST = "127.0.0.2"  # on loopback, but none of MLflow's defaults: as any host name
with socket.socket() as probe:
    probe.bind((HOST, 0))
    port = probe.getsockname()[1]
for allowed in (None, f"{HOST}:{port}"):
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", "sqlite:///mlflow.db", *(["--allowed-hosts", allowed] if allowed else [])]
    with open("log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(600):
            try:
                healthy, _ = status(f"http://{HOST}:{port}/health")
                break
            except OSError:
                time.sleep(0.2)
        found, body = status(f"http://{HOST}:{port}/api/2.0/mlflow/experiments/search?max_results=1")
        try:
            told = str(len(MlflowClient(f"http://{HOST}:{port}").search_experiments()))
        except MlflowException as error:
            told = error.error_code
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    print(f"--allowed-hosts {allowed}: /health {healthy}, API {found}, client {told}")
    assert healthy == 200
    assert ("Invalid Host header" in body, found, told) == ((True, 403, "PERMISSION_DENIED"), (False, 200, "1"))[bool(allowed)]
PY
