#!/usr/bin/env bash
# Versions: mlflow-skinny 3.17.2, Python 3.11.
#
# Expected: `log_artifact` raises if the answer did not come from an MLflow server, as `log_metric` does: "API request to
#   endpoint was successful but the response body was not in a valid JSON format".
#
# Seen: for artifacts uploaded through a server, the client checks only the status. Any page with status 200 confirms the
#   upload, such as the login page of a captive portal or of a single sign-on, although the file is not stored:
#     log_metric:    MlflowException: ... not in a valid JSON format
#     log_artifact:  no error
#
# Matters because: a checkpoint or an image counts as stored but is lost, while metrics fail and are retried. ranklog
#   queries the run after uploads, and lets records wait if the answer is not MLflow's.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q mlflow-skinny==3.17.2
cd "$folder"
MLFLOW_DISABLE_TELEMETRY=true MLFLOW_HTTP_REQUEST_MAX_RETRIES=0 venv/bin/python - <<'PY'
import http.server, json, pathlib, threading

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

INFO = {"run_id": "1", "experiment_id": "0", "status": "RUNNING", "artifact_uri": "mlflow-artifacts:/0/1/artifacts"}


class Server(http.server.BaseHTTPRequestHandler):
    """Knows one run; everything that is sent to it meets the page of a proxy."""

    def do_GET(self):
        self.answer(json.dumps({"run": {"info": INFO, "data": {}}}), "application/json")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer("<html>Log in to go on</html>", "text/html")

    do_PUT = do_POST

    def answer(self, body, media):
        self.send_response(200)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = MlflowClient(f"http://127.0.0.1:{server.server_port}")
pathlib.Path("model.bin").write_bytes(b"weights")
try:
    client.log_metric("1", "loss", 0.5)
    raise SystemExit("log_metric took a page for an answer")
except MlflowException as error:
    print("log_metric:   ", str(error)[:100])
client.log_artifact("1", "model.bin")
print("log_artifact:  no error")
PY
