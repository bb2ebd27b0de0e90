//! AWS Lambda's API.

mod access;
mod functions;
mod signed;

use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    fixture::{Answer, Fixture, request, root_tar},
    tenancy::asking,
};

pub(crate) const ROOT: &str = "/2015-03-31/functions";
/// A zip of a `main.py` that returns its event.
pub(crate) const ZIP: &str = "UEsDBBQAAAAAAAAAIVw6RtamHAAAABwAAAAHAAAAbWFpbi5weWRlZiBoYW5kbGVyKGUsIGMpOiByZXR1cm4gZQpQSwECFAMUAAAAAAAAACFcOkbWphwAAAAcAAAABwAAAAAAAAAAAAAAgAEAAAAAbWFpbi5weVBLBQYAAAAAAQABADUAAABBAAAAAAA=";
/// Another one.
pub(crate) const OTHER_ZIP: &str = "UEsDBBQAAAAAAAAAIVypjSxTHAAAABwAAAAHAAAAbWFpbi5weWRlZiBoYW5kbGVyKGUsIGMpOiByZXR1cm4gMgpQSwECFAMUAAAAAAAAACFcqY0sUxwAAAAcAAAABwAAAAAAAAAAAAAAgAEAAAAAbWFpbi5weVBLBQYAAAAAAQABADUAAABBAAAAAAA=";

/// Brings in what stands for the image of the Python runtime.
pub(crate) async fn import_runtime(f: &Fixture) {
    let tar = std::fs::read(root_tar(f.folder.path())).unwrap();
    let path = "/v1/images/import?kind=root&name=hearth/runtime-python3:latest&cmd=%5B%22/hello%22%5D";
    let imported = f.send(request(Method::POST, path).body(Full::from(tar)).unwrap()).await;
    assert_eq!(imported.status, StatusCode::OK, "{imported:?}");
}

/// What makes a function of this name.
pub(crate) fn creation(name: &str) -> Value {
    json!({
        "FunctionName": name,
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::000000000000:role/r",
        "Handler": "main.handler",
        "Code": { "ZipFile": ZIP },
    })
}

/// Asks on the socket.
pub(crate) async fn ask(f: &Fixture, method: Method, path: &str, body: Option<Value>) -> Answer {
    f.send(asking(method, path, body)).await
}

/// The kind of an error, after a look at all that each must have.
pub(crate) fn kind(answer: &Answer) -> String {
    let body: Value = answer.json();
    assert!(!body["Message"].as_str().unwrap().is_empty(), "{answer:?}");
    assert_eq!(body["message"], body["Message"]);
    let blame = if answer.status.is_server_error() {
        "Service"
    } else {
        "User"
    };
    assert_eq!(body["Type"], blame);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(answer.headers.contains_key("x-amzn-requestid"));
    answer.headers["x-amzn-errortype"].to_str().unwrap().to_owned()
}
