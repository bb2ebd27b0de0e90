"""Makes signed.json, the requests of the tests beside it, by botocore's own signer.

Usage: python3 sign.py >signed.json, with botocore 1.44 or later.
"""

import datetime
import hashlib
import json

import botocore.auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY = "key01m7zqc4waydhk2ykvy9mk1qy0"
SECRET = "0123456789abcdef" * 4
botocore.auth.get_current_datetime = lambda *_, **__: datetime.datetime(2026, 11, 21, 18, 0, 0)

requests = []


def add(method, path, body=b"", headers=()):
    request = AWSRequest(method=method, url="http://127.0.0.1:8080" + path, data=body, headers=dict(headers))
    SigV4Auth(Credentials(KEY, SECRET), "lambda", "eu-west-1").add_auth(request)
    signed = {name.lower(): value for name, value in request.headers.items()}
    signed["host"] = "127.0.0.1:8080"
    requests.append({"method": method, "path": path, "body": body.decode(), "headers": signed})


ROOT = "/2015-03-31/functions"
ARN = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af"
PATHS = [
    ROOT,
    ROOT + "/",
    ROOT + "/f",
    ROOT + "/f%3Alive/invocations",
    ROOT + f"/{ARN}%3A1/configuration",
    ROOT + "/a%20b",
    ROOT + "/a+b",
    ROOT + "/~a_b.c-d",
    ROOT + "/f'(x)!*",
    ROOT + "//f/./x/../code",
    ROOT + "/%C3%A9",
    ROOT + "/%2F",
    ROOT + "/a%2525",
    ROOT + "/f?Qualifier=%24LATEST",
    ROOT + "?MaxItems=2&Marker=abc",
    ROOT + "?Marker=b&Marker=a&MaxItems=1",
    ROOT + "?a=&b",
    ROOT + "?x=%2B&x=%20&x=a%3Db",
    ROOT + "/f?a=1&A=2&a-b=3&a.b=4&aB=5",
    f"/2017-03-31/tags/{ARN}?tagKeys=b&tagKeys=a&tagKeys=a%20b",
]
for path in PATHS:
    add("GET", path)
HEADERS = {
    "X-Amz-Invocation-Type": "Event",
    "X-Amz-Client-Context": "e30=",
    "Content-Type": "application/json",
    "X-Spaces": "  a   b  c ",
}
for path in PATHS[:5]:
    add("POST", path, '{"a":"é"}'.encode(), HEADERS)
CODE = b"x" * 100
add("PUT", ROOT + "/f/code", CODE, {"X-Amz-Content-SHA256": hashlib.sha256(CODE).hexdigest()})
add("POST", ROOT + "/f/invocations", b"abc", {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
print(json.dumps({"key": KEY, "secret": SECRET, "requests": requests}, indent=1, ensure_ascii=False))
