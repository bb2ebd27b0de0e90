"""A function's life by boto3, unmodified. Says "all is well", or fails."""

import base64
import io
import json
import os
import urllib.error
import urllib.request
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

SOURCE = """
import os, time

def handler(event, context):
    print("got", event)
    if event.get("boom"):
        raise ValueError("boom")
    if event.get("exit"):
        os._exit(3)
    time.sleep(event.get("sleep", 0))
    return {{
        "tag": "{tag}",
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "context": getattr(context.client_context, "custom", None),
        "variable": os.environ.get("GREETING"),
    }}
"""
ROLE = "arn:aws:iam::000000000000:role/any"
NAME = "Shop_Front"
ARN = f"arn:aws:lambda:us-east-1:000000000000:function:{NAME}"


def code(tag):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("main.py", SOURCE.format(tag=tag))
    return archive.getvalue()


def client(**more):
    return boto3.client("lambda", config=Config(retries={"max_attempts": 1}), **more)


def refused(kind, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == kind, error.response
        assert error.response["Error"]["Message"], error.response
        return
    raise AssertionError(f"not refused as {kind}: {arguments}")


def call(event=None, **more):
    answer = aws.invoke(FunctionName=more.pop("name", NAME), Payload=json.dumps(event or {}), **more)
    return json.loads(answer["Payload"].read()), answer


def status(url):
    try:
        return urllib.request.urlopen(url, timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code


aws = client()
wanted = {"FunctionName": NAME, "Runtime": "python3.12", "Role": ROLE, "Handler": "main.handler"}
made = aws.create_function(
    **wanted,
    Code={"ZipFile": code("one")},
    Timeout=10,
    Environment={"Variables": {"GREETING": "hello"}},
    Tags={"team": "shop"},
)
assert made["FunctionArn"] == ARN and made["MemorySize"] == 128, made
aws.get_waiter("function_active_v2").wait(FunctionName=NAME)
refused("ResourceConflictException", aws.create_function, **wanted, Code={"ZipFile": code("one")})
stranger = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "other"}
thief = {"aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": "other"}
refused("UnrecognizedClientException", client(**stranger).list_functions)
refused("InvalidSignatureException", client(**thief).list_functions)

custom = base64.b64encode(b'{"custom":{"page":"7"}}').decode()
answer, response = call({"a": 1}, LogType="Tail", ClientContext=custom)
assert answer == {"tag": "one", "arn": ARN, "memory": "128", "context": {"page": "7"}, "variable": "hello"}, answer
assert response["StatusCode"] == 200 and response["ExecutedVersion"] == "$LATEST", response
log = base64.b64decode(response["LogResult"]).decode()
assert "got {'a': 1}" in log and response["ResponseMetadata"]["RequestId"] in log, log

for event, kind in [({"boom": 1}, "ValueError"), ({"exit": 1}, "Runtime.ExitError")]:
    answer, response = call(event)
    assert response["StatusCode"] == 200 and response["FunctionError"] == "Unhandled", response
    assert answer["errorType"] == kind, answer

assert aws.publish_version(FunctionName=NAME)["Version"] == "1"
assert aws.update_function_code(FunctionName=NAME, ZipFile=code("two"), Publish=True)["Version"] == "2"
aws.get_waiter("function_updated_v2").wait(FunctionName=NAME)
alias = aws.create_alias(FunctionName=NAME, Name="PROD", FunctionVersion="1")["AliasArn"]
assert alias == f"{ARN}:PROD", alias
for qualifier, tag, version in [("PROD", "one", "1"), ("2", "two", "2"), ("$LATEST", "two", "$LATEST")]:
    answer, response = call(Qualifier=qualifier)
    assert (answer["tag"], response["ExecutedVersion"]) == (tag, version), (qualifier, answer)
assert call(name=alias)[0]["arn"] == alias
aws.update_alias(FunctionName=NAME, Name="PROD", RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}})
assert call(Qualifier="PROD")[0]["tag"] == "two"

aws.update_function_configuration(FunctionName=NAME, Timeout=2)
answer, response = call({"sleep": 30})
assert response["FunctionError"] == "Unhandled" and "timed out" in answer["errorMessage"], answer

events = list(aws.invoke_with_response_stream(FunctionName=NAME, Payload=b"{}", LogType="Tail")["EventStream"])
chunks = b"".join(event["PayloadChunk"]["Payload"] for event in events[:-1])
assert json.loads(chunks)["tag"] == "two" and "LogResult" in events[-1]["InvokeComplete"], events
events = list(aws.invoke_with_response_stream(FunctionName=NAME, Payload=b'{"boom":1}')["EventStream"])
assert events[-1]["InvokeComplete"]["ErrorCode"] == "Unhandled", events

assert aws.invoke(FunctionName=NAME, InvocationType="Event", Payload=b"{}")["StatusCode"] == 202
assert aws.invoke(FunctionName=NAME, InvocationType="DryRun")["StatusCode"] == 204

url = aws.create_function_url_config(FunctionName=NAME, AuthType="NONE")["FunctionUrl"]
assert status(url) == 401
permission = {"StatementId": "all", "Action": "lambda:InvokeFunctionUrl", "Principal": "*"}
aws.add_permission(FunctionName=NAME, **permission, FunctionUrlAuthType="NONE")
assert status(url) == 200
aws.delete_function_url_config(FunctionName=NAME)
assert status(url) == 401

for number in range(3):
    aws.create_function(**{**wanted, "FunctionName": f"more-{number}"}, Code={"ZipFile": code("more")})
pages = list(aws.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2}))
names = [function["FunctionName"] for page in pages for function in page["Functions"]]
assert len(pages) == 2 and sorted(names) == sorted([NAME, "more-0", "more-1", "more-2"]), names
for name in names:
    aws.delete_function(FunctionName=name)
refused("ResourceNotFoundException", aws.get_function, FunctionName=NAME)
print("all is well")
