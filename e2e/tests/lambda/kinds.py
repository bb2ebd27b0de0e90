"""Functions of every kind by boto3, unmodified. Says "all is well", or fails."""

import io
import json
import os
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/any"
IMAGE = "test/ric:1"
NODE = """
exports.handler = async (event, context) => {
  if (event.boom) throw new TypeError("boom");
  return { given: event, node: process.version, name: context.functionName, color: process.env.COLOR };
};
"""
COLOR = {"Variables": {"COLOR": "red"}}
aws = boto3.client("lambda", config=Config(retries={"max_attempts": 1}))


def zipped(name, text, mode=0o644):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        file.writestr(entry, text)
    return {"ZipFile": archive.getvalue()}


def make(name, **more):
    made = aws.create_function(FunctionName=name, Role=ROLE, Timeout=20, **more)
    aws.get_waiter("function_active_v2").wait(FunctionName=name)
    return made


def call(name, event):
    answer = aws.invoke(FunctionName=name, Payload=json.dumps(event))
    assert answer["StatusCode"] == 200, answer
    return json.loads(answer["Payload"].read()), answer.get("FunctionError")


def refused(kind, word, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == kind, error.response
        assert word in error.response["Error"]["Message"], error.response
        return
    raise AssertionError(f"not refused as {kind}: {arguments}")


def images():
    image = {"PackageType": "Image", "Code": {"ImageUri": IMAGE}}
    made = make("image", Environment=COLOR, **image)
    assert made["PackageType"] == "Image" and "Runtime" not in made and "Handler" not in made, made
    assert call("image", {"a": 1}) == (
        {"given": {"a": 1}, "by": "handler", "color": "red", "arn": made["FunctionArn"]},
        None,
    )
    code = aws.get_function(FunctionName="image")["Code"]
    assert code["ImageUri"] == IMAGE and "sha256:" in code["ResolvedImageUri"], code

    # What the image is told to run can be said anew, and stays when something else is changed.
    config = {"Command": ["app.other"]}
    shown = aws.update_function_configuration(FunctionName="image", ImageConfig=config)
    assert shown["ImageConfigResponse"]["ImageConfig"]["Command"] == ["app.other"], shown
    assert call("image", {"b": 2}) == ({"given": {"b": 2}, "by": "other"}, None)
    answer, error = call("image", {"boom": 1})
    assert (error, answer["errorType"], answer["errorMessage"]) == ("Unhandled", "ValueError", "boom"), answer
    shown = aws.update_function_code(FunctionName="image", ImageUri=IMAGE)
    assert shown["ImageConfigResponse"]["ImageConfig"]["Command"] == ["app.other"], shown

    both = {"FunctionName": "wrong", "Role": ROLE, **image}
    kind = "InvalidParameterValueException"
    refused(kind, "Handler or Runtime", aws.create_function, **both, Runtime="python3.12", Handler="app.handler")
    nowhere = {**both, "Code": {"ImageUri": "test/nowhere:1"}}
    refused(kind, "test/nowhere:1", aws.create_function, **nowhere)
    refused(kind, "ZipFile", aws.update_function_code, FunctionName="image", **zipped("app.py", "pass"))


def hooks():
    """AWS's runtime client runs a program's hooks around its snapshot, if SnapStart is asked for."""
    wanted = {"PackageType": "Image", "Code": {"ImageUri": IMAGE}, "ImageConfig": {"Command": ["app.hooked"]}}
    made = make("hooked", SnapStart={"ApplyOn": "PublishedVersions"}, **wanted)
    assert made["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}, made
    assert call("hooked", {}) == (["before", "after"], None)
    shown = aws.get_function_configuration(FunctionName="hooked", Qualifier="1")
    assert shown["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}, shown
    change = {"FunctionName": "hooked", "SnapStart": {"ApplyOn": "Always"}}
    refused("ValidationException", "snapStart.applyOn", aws.update_function_configuration, **change)
    shown = aws.update_function_configuration(FunctionName="hooked", SnapStart={"ApplyOn": "None"})
    assert shown["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}, shown
    assert call("hooked", {}) == ([], None)


def node():
    made = make("js", Runtime="nodejs22.x", Handler="index.handler", Environment=COLOR, Code=zipped("index.js", NODE))
    assert (made["PackageType"], made["Runtime"]) == ("Zip", "nodejs22.x"), made
    answer, error = call("js", {"a": [1, None]})
    assert answer.pop("node").startswith("v") and error is None, answer
    assert answer == {"given": {"a": [1, None]}, "name": "js", "color": "red"}, answer
    answer, error = call("js", {"boom": 1})
    assert (error, answer["errorType"], answer["errorMessage"]) == ("Unhandled", "TypeError", "boom"), answer


def provided():
    program = zipped("bootstrap", os.environ["BOOTSTRAP"], 0o755)
    made = make("own", Runtime="provided.al2023", Handler="my.handler", Code=program)
    assert made["Runtime"] == "provided.al2023", made
    assert call("own", {"a": "\u00e4"}) == ({"handler": "my.handler", "given": {"a": "\u00e4"}, "calls": 1}, None)
    assert call("own", {})[0]["calls"] == 2


for kind in (images, hooks, node, provided):
    kind()
for function in aws.list_functions()["Functions"]:
    aws.delete_function(FunctionName=function["FunctionName"])
print("all is well")
