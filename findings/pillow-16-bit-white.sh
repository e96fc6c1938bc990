#!/usr/bin/env bash
# Versions: Pillow 12.3.0, Python 3.11
# Expected: convert("RGB") of a 16-bit grey image scales it to 8 bits, so a mid grey stays a mid grey.
# Seen: values are clipped at 255 instead. Grey 1000 of 65535, nearly black, becomes white:
#   mode I;16, pixels [100, 1000, 65535] -> RGB [100, 255, 255]
# Matters because: the preview of a depth map or a medical image is completely white, without a warning. ranklog scales
#   16-bit images before it creates a preview (MLflow's image view).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==12.3.0
"$folder/venv/bin/python" - <<'PY'
from PIL import Image

picture = Image.new("I;16", (3, 1))
for x, value in enumerate((100, 1000, 65535)):
    picture.putpixel((x, 0), value)
shown = [picture.convert("RGB").getpixel((x, 0))[0] for x in range(3)]
print(f"mode {picture.mode}, pixels [100, 1000, 65535] -> RGB {shown}")
assert shown == [100, 255, 255], "Pillow scales 16 bits now"
PY
