"""Says hello: the function of the tutorial and of `make demo`."""


def handler(event, context):
    # Called by HTTP, the event is the request, as it is for a Lambda function URL; else it is what the caller gave.
    asked = event.get("queryStringParameters") or event
    name = asked.get("name", "world")
    print(f"saying hello to {name}")
    return {"message": f"Hello, {name}!"}
