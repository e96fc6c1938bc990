#!/usr/bin/env bash
# TensorBoard's default server never reads an event file that replaced another one of the same name.
#
# Versions: tensorboard 2.21.0 with tensorboard-data-server 0.7.2, Python 3.11.
# Expected: after `os.replace(new, "events.out.tfevents.1")`, a running TensorBoard shows the new content and everything
#   appended to it, because it looks for files at each reload.
# Seen: the data server keeps the replaced file open. Points appended to the new file never appear, until TensorBoard is
#   restarted. A file with another name appears at the next reload.
# Matters because: a writer that rewrites its file atomically, as is good practice, freezes every running TensorBoard.
#   ranklog only appends, and writes rewritten data under a new name.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check tensorboard==2.21.0 tensorboard-data-server==0.7.2
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import json, os, subprocess, sys, time, urllib.request
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


def write(path, steps, tag="loss"):
    with open(path, "ab") as file:
        for step in steps:
            event = Event(step=step, wall_time=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=1.0)]))
            RecordWriter(file).write(event.SerializeToString())


def steps(tag):
    try:
        return [point[1] for point in json.load(urllib.request.urlopen(f"{url}data/plugin/scalars/scalars?run=run&tag={tag}"))]
    except urllib.error.HTTPError:
        return []


def wait_for(tag, expected):
    for _ in range(150):
        if steps(tag) == expected:
            return
        time.sleep(0.2)
    raise SystemExit(f"{tag}: {steps(tag)} instead of {expected}")


os.makedirs("log/run")
write("log/run/events.out.tfevents.1", range(5))
options = ["--logdir", "log", "--port", "0", "--host", "127.0.0.1", "--reload_interval", "1", "--load_fast", "true"]
server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *options], stderr=subprocess.PIPE, text=True)
try:
    url = next(line for line in server.stderr if " at http" in line).split(" at ")[1].split()[0]
    wait_for("loss", [0, 1, 2, 3, 4])
    write("new", range(5))
    os.replace("new", "log/run/events.out.tfevents.1")
    write("log/run/events.out.tfevents.1", range(5, 10))
    write("log/run/events.out.tfevents.2", range(3), tag="other")
    wait_for("other", [0, 1, 2])  # reloads go on
    write("log/run/events.out.tfevents.2", range(3, 6), tag="other")
    wait_for("other", [0, 1, 2, 3, 4, 5])
    print("loss after its file was replaced:", steps("loss"))
    assert steps("loss") == [0, 1, 2, 3, 4]
finally:
    server.terminate()
PYTHON
