"""An image file to `medzoo serve`, with nothing but Python.

python image_file.py http://HOST:8000 NAME IMAGE
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


def main(address: str, model: str, image: str) -> int:
    path = Path(image)
    query = urllib.parse.urlencode({"name": path.name})
    request = urllib.request.Request(
        f"{address}/predict/{urllib.parse.quote(model)}?{query}",
        data=path.read_bytes(),
        headers={"Content-Type": "application/octet-stream"},
    )
    if token := os.environ.get("MEDZOO_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as refused:
        answer = json.load(refused)
        print(json.dumps(answer, indent=1))
        return 2
    print(json.dumps(answer, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
