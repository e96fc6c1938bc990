#!/usr/bin/env bash
# The list of hyperparameters that one run writes hides those of all other runs in TensorBoard's HPARAMS tab.
#
# Versions: tensorboard 2.21.0, Python 3.11.
# Expected: runs in one folder show the union of their hyperparameters. Writers such as torch's `add_hparams` write one
#   "experiment" event per run with the hyperparameters of that run.
# Seen: TensorBoard uses the first experiment event that it finds for the complete folder, so only the columns of run "a"
#   exist. Without these events, it collects the columns from all runs.
# Matters because: hyperparameters that only some runs have cannot be seen or compared, and no message says so. ranklog
#   writes no experiment event.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check tensorboard==2.21.0
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import json, subprocess, sys, time, urllib.request
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2 as hp
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def write(logdir, run, params, config):
    writer = EventFileWriter(f"{logdir}/{run}")
    if config:
        infos = [api_pb2.HParamInfo(name=name, type=api_pb2.DATA_TYPE_FLOAT64) for name in params]
        data = plugin_data_pb2.HParamsPluginData(experiment=api_pb2.Experiment(hparam_infos=infos))
        value = summary_pb2.Summary.Value(
            tag=metadata.EXPERIMENT_TAG, tensor=metadata.NULL_TENSOR, metadata=metadata.create_summary_metadata(data)
        )
        writer.add_event(event_pb2.Event(summary=summary_pb2.Summary(value=[value])))
    writer.add_event(event_pb2.Event(summary=hp.hparams_pb(params, trial_id=run)))
    writer.close()


def columns(config):
    logdir = f"log-{config}"
    write(logdir, "a", {"lr": 0.1, "only_a": 1.0}, config)
    write(logdir, "b", {"lr": 0.2, "only_b": 2.0}, config)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", logdir, "--port", "0", "--host", "127.0.0.1"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    url = next(line for line in server.stderr if " at http" in line).split(" at ")[1].split()[0]
    for _ in range(100):
        time.sleep(0.2)
        headers = {"Content-Type": "application/json"}
        ask = urllib.request.Request(f"{url}data/plugin/hparams/experiment", b'{"experimentName": ""}', headers)
        try:
            found = sorted(info["name"] for info in json.load(urllib.request.urlopen(ask))["hparamInfos"])
        except (KeyError, urllib.error.HTTPError):
            continue
        if found:
            break
    server.terminate()
    return found


with_config, without = columns(True), columns(False)
print("with experiment events:", with_config, "\nwithout them:", without, flush=True)
assert with_config in (["lr", "only_a"], ["lr", "only_b"]) and without == ["lr", "only_a", "only_b"]
PYTHON
