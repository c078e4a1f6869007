"""Ask a running server what is on pictures.

resnets serve runs/latest; python client.py 127.0.0.1:8000 picture.jpg …
"""

import http.client
import json
import sys
from pathlib import Path

server = http.client.HTTPConnection(sys.argv[1])
for picture in sys.argv[2:]:
    server.request("POST", "/predict?top=1", Path(picture).read_bytes(), {"Content-Type": "application/octet-stream"})
    found = json.load(server.getresponse())
    if "error" in found:
        print(f"{picture}: {found['error']}")
    else:
        best, doubt = found["classes"][0], "" if found["sure"] else " (not sure)"
        print(f"{picture}: {best['name']}{doubt}  {best['probability']:.3f}")
