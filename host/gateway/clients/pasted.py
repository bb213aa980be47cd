"""Pastes the request of every model's page into a shell. Usage: pasted.py URL"""

import html
import json
import re
import subprocess
import sys
import urllib.request

URL = sys.argv[1].rstrip("/")


def get(path):
    with urllib.request.urlopen(URL + path, timeout=30) as answer:
        return answer.read().decode()


models = json.loads(get("/v2/models"))["models"]
for model in models:
    page = get(f"/v2/models/{model}/docs")
    command = html.unescape(re.search(r"<pre>(.*?)</pre>", page, re.S).group(1))
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"pasted: {model}: {command}\n{done.stdout}{done.stderr}")
    if "outputs" not in answer:
        sys.exit(f"pasted: {model}: {command}\n{answer}")
    document = json.loads(get(f"/v2/models/{model}/openapi.json"))
    path = f"/v2/models/{model}/infer"
    if document["openapi"] != "3.1.0" or path not in document["paths"]:
        sys.exit(f"pasted: {model}: {document}")
if not models:
    sys.exit("pasted: nothing is deployed")
print(f"pasted: ok, {len(models)} models")
