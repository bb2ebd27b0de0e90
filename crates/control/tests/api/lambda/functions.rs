//! Functions over AWS's API: made, changed, looked at, removed.

use futures::future::join_all;
use hearth_api::Function;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{OTHER_ZIP, ROOT, ZIP, ask, creation, import_runtime, kind};
use crate::{fixture::Fixture, program::deploy};

async fn fixture() -> Fixture {
    let f = Fixture::new().await;
    import_runtime(&f).await;
    f
}

async fn made(f: &Fixture, name: &str) -> Value {
    let made = ask(f, Method::POST, ROOT, Some(creation(name))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    made.json()
}

#[tokio::test]
async fn a_function_is_made_changed_and_removed() {
    let f = fixture().await;
    let shown = made(&f, "My_Func").await;
    assert_eq!(
        shown["FunctionArn"],
        "arn:aws:lambda:us-east-1:000000000000:function:My_Func"
    );
    for (field, value) in [
        ("Version", json!("$LATEST")),
        ("State", json!("Active")),
        ("LastUpdateStatus", json!("Successful")),
        ("Timeout", json!(3)),
        ("MemorySize", json!(128)),
        ("Runtime", json!("python3.12")),
        ("PackageType", json!("Zip")),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    let own: Function = f.get("/v1/functions/My_Func").await.json();
    let latest = own.latest.unwrap();
    assert_eq!((latest.resources.memory_mib, latest.timeout_ms), (256, 3000));
    let path = format!("{ROOT}/My_Func");

    let changed = json!({ "Timeout": 9, "MemorySize": 512, "Environment": { "Variables": { "A": "1" } } });
    let changed = ask(&f, Method::PUT, &format!("{path}/configuration"), Some(changed)).await;
    assert_eq!(changed.json::<Value>()["Environment"]["Variables"], json!({ "A": "1" }));
    let code = json!({ "ZipFile": OTHER_ZIP, "Publish": true });
    let updated: Value = ask(&f, Method::PUT, &format!("{path}/code"), Some(code)).await.json();
    assert_eq!((&updated["Version"], &updated["Timeout"]), (&json!("3"), &json!(9)));
    assert_ne!(updated["CodeSha256"], shown["CodeSha256"]);
    // The same code once more is no new version.
    let code = json!({ "ZipFile": OTHER_ZIP, "Publish": true });
    let again: Value = ask(&f, Method::PUT, &format!("{path}/code"), Some(code)).await.json();
    assert_eq!(again["Version"], "3");

    let versions: Value = ask(&f, Method::GET, &format!("{path}/versions?MaxItems=2"), None)
        .await
        .json();
    assert_eq!(
        (&versions["Versions"][1]["Version"], &versions["NextMarker"]),
        (&json!("1"), &json!("1"))
    );
    let rest: Value = ask(&f, Method::GET, &format!("{path}/versions?Marker=1"), None)
        .await
        .json();
    let rest: Vec<_> = rest["Versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| &version["Version"])
        .collect();
    assert_eq!(rest, ["2", "3"]);

    assert_eq!(
        ask(&f, Method::DELETE, &path, None).await.status,
        StatusCode::NO_CONTENT
    );
    let gone = ask(&f, Method::GET, &path, None).await;
    assert_eq!(
        (kind(&gone).as_str(), gone.status),
        ("ResourceNotFoundException", StatusCode::NOT_FOUND)
    );
    assert!(
        gone.json::<Value>()["Message"]
            .as_str()
            .unwrap()
            .contains("function:My_Func")
    );
}

#[tokio::test]
async fn snap_start_is_kept_and_told() {
    let f = fixture().await;
    let none = json!({ "ApplyOn": "None", "OptimizationStatus": "Off" });
    assert_eq!(made(&f, "plain").await["SnapStart"], none);
    let mut wanted = creation("hooked");
    wanted["SnapStart"] = json!({ "ApplyOn": "PublishedVersions" });
    wanted["Environment"] = json!({ "Variables": { "A": "1" } });
    let shown: Value = ask(&f, Method::POST, ROOT, Some(wanted)).await.json();
    let asked = json!({ "ApplyOn": "PublishedVersions", "OptimizationStatus": "Off" });
    assert_eq!(shown["SnapStart"], asked);
    let configuration = format!("{ROOT}/hooked/configuration");
    let change = async |body: Value| -> Value { ask(&f, Method::PUT, &configuration, Some(body)).await.json() };
    // What is not named stays, and nobody is shown by what it is kept.
    let changed = change(json!({ "Timeout": 9, "Environment": { "Variables": { "A": "2" } } })).await;
    assert_eq!(changed["SnapStart"], asked);
    assert_eq!(changed["Environment"]["Variables"], json!({ "A": "2" }));
    let published: Value = ask(&f, Method::GET, &format!("{configuration}?Qualifier=2"), None)
        .await
        .json();
    assert_eq!(published["SnapStart"]["OptimizationStatus"], "On");
    // The runtime is told, as it is whoever deploys for the hooks by hand.
    let own: Value = f.get("/v1/functions/hooked/versions/2").await.json();
    let env = own["env"].as_array().unwrap();
    assert!(
        env.contains(&json!("AWS_LAMBDA_INITIALIZATION_TYPE=snap-start")),
        "{own}"
    );
    for back in [
        json!({ "SnapStart": {} }),
        json!({ "SnapStart": { "ApplyOn": "None" } }),
    ] {
        let wanted = if back["SnapStart"] == json!({}) { &asked } else { &none };
        assert_eq!(&change(back).await["SnapStart"], wanted);
    }
    let published: Value = ask(&f, Method::GET, &format!("{configuration}?Qualifier=3"), None)
        .await
        .json();
    assert_eq!((&published["Version"], &published["SnapStart"]), (&json!("3"), &none));
    // A program that listens has no runtime that could be asked.
    deploy(&f, "web", json!({})).await;
    let body = json!({ "SnapStart": { "ApplyOn": "PublishedVersions" } });
    let refused = ask(&f, Method::PUT, &format!("{ROOT}/web/configuration"), Some(body)).await;
    assert_eq!(kind(&refused), "InvalidParameterValueException");
}

#[tokio::test]
async fn of_those_who_make_a_function_at_once_one_does() {
    let f = fixture().await;
    let one = async |number: usize| {
        let mut wanted = creation("once");
        wanted["Role"] = json!(format!("arn:aws:iam::000000000000:role/r{number}"));
        wanted["Code"] = json!({ "ZipFile": if number.is_multiple_of(2) { ZIP } else { OTHER_ZIP } });
        let answer = ask(&f, Method::POST, ROOT, Some(wanted.clone())).await;
        (wanted, answer)
    };
    let answers = join_all((0..8).map(one)).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|(_, answer)| answer.status == StatusCode::CREATED);
    assert_eq!(made.len(), 1, "{answers:?}");
    for (_, answer) in refused {
        assert_eq!(
            (kind(answer).as_str(), answer.status),
            ("ResourceConflictException", StatusCode::CONFLICT)
        );
    }
    let path = format!("{ROOT}/once/configuration");
    let shown: Value = ask(&f, Method::GET, &path, None).await.json();
    assert_eq!(shown["Role"], made[0].0["Role"]);
    assert_eq!(shown["CodeSha256"], made[0].1.json::<Value>()["CodeSha256"]);
}

#[tokio::test]
async fn functions_are_listed_in_pages() {
    let f = fixture().await;
    for name in ["a", "b", "c"] {
        made(&f, name).await;
    }
    let mut names = Vec::new();
    let mut path = format!("{ROOT}/?MaxItems=2");
    loop {
        let page: Value = ask(&f, Method::GET, &path, None).await.json();
        let functions = page["Functions"].as_array().unwrap();
        names.extend(
            functions
                .iter()
                .map(|function| function["FunctionName"].as_str().unwrap().to_owned()),
        );
        let Some(marker) = page["NextMarker"].as_str() else {
            break;
        };
        path = format!("{ROOT}/?MaxItems=2&Marker={marker}");
    }
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn aliases_lead_to_versions_by_weight() {
    let f = fixture().await;
    made(&f, "f").await;
    let path = format!("{ROOT}/f");
    let code = json!({ "ZipFile": OTHER_ZIP });
    ask(&f, Method::PUT, &format!("{path}/code"), Some(code)).await;
    let aliases = format!("{path}/aliases");
    let wanted = json!({ "Name": "PROD", "FunctionVersion": "1",
        "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.25 } } });
    let alias = ask(&f, Method::POST, &aliases, Some(wanted.clone())).await;
    assert_eq!(alias.status, StatusCode::CREATED, "{alias:?}");
    let alias: Value = alias.json();
    assert_eq!(alias["RoutingConfig"], wanted["RoutingConfig"]);
    assert_eq!(
        kind(&ask(&f, Method::POST, &aliases, Some(wanted)).await),
        "ResourceConflictException"
    );
    let stale = json!({ "FunctionVersion": "2", "RevisionId": "other" });
    let place = format!("{aliases}/PROD");
    assert_eq!(
        kind(&ask(&f, Method::PUT, &place, Some(stale)).await),
        "PreconditionFailedException"
    );
    let moved = json!({ "FunctionVersion": "2", "RoutingConfig": {}, "RevisionId": alias["RevisionId"] });
    let moved: Value = ask(&f, Method::PUT, &place, Some(moved)).await.json();
    assert_eq!(
        (&moved["FunctionVersion"], moved.get("RoutingConfig")),
        (&json!("2"), None)
    );
    let of_alias: Value = ask(&f, Method::GET, &format!("{path}?Qualifier=PROD"), None)
        .await
        .json();
    assert_eq!(of_alias["Configuration"]["Version"], "2");
    let in_use = ask(&f, Method::DELETE, &format!("{path}?Qualifier=2"), None).await;
    assert_eq!(kind(&in_use), "ResourceConflictException");
    for (body, wanted) in [
        (
            json!({ "Name": "x", "FunctionVersion": "7" }),
            "ResourceNotFoundException",
        ),
        (
            json!({ "Name": "x", "FunctionVersion": "$LATEST" }),
            "InvalidParameterValueException",
        ),
        (
            json!({ "Name": "7", "FunctionVersion": "1" }),
            "InvalidParameterValueException",
        ),
        (
            json!({ "Name": "live", "FunctionVersion": "1" }),
            "ResourceConflictException",
        ),
        (json!({ "FunctionVersion": "1" }), "InvalidParameterValueException"),
    ] {
        assert_eq!(
            kind(&ask(&f, Method::POST, &aliases, Some(body.clone())).await),
            wanted,
            "{body}"
        );
    }
    assert_eq!(
        ask(&f, Method::DELETE, &place, None).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        kind(&ask(&f, Method::GET, &place, None).await),
        "ResourceNotFoundException"
    );
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_kind() {
    let f = fixture().await;
    made(&f, "there").await;
    let with = |field: &str, value: Value| {
        let mut body = creation("new");
        body[field] = value;
        body
    };
    for (body, wanted, word) in [
        (creation("there"), "ResourceConflictException", "there"),
        (creation("THERE"), "ResourceConflictException", "THERE"),
        (
            with("FunctionName", json!("a b")),
            "InvalidParameterValueException",
            "name",
        ),
        (
            with("Runtime", json!("java21")),
            "InvalidParameterValueException",
            "python3",
        ),
        (
            with("Runtime", Value::Null),
            "InvalidParameterValueException",
            "runtime",
        ),
        (
            with("Runtime", json!("nodejs20.x")),
            "InvalidParameterValueException",
            "make runtimes",
        ),
        (with("Role", json!("")), "InvalidParameterValueException", "role"),
        (
            with("Handler", json!("main")),
            "InvalidParameterValueException",
            "handler",
        ),
        (with("Timeout", json!(901)), "InvalidParameterValueException", "timeout"),
        (with("Timeout", json!("x")), "InvalidRequestContentException", "json"),
        (
            with("MemorySize", json!(64)),
            "InvalidParameterValueException",
            "memorySize",
        ),
        (
            with("SnapStart", json!({ "ApplyOn": "Always" })),
            "ValidationException",
            "snapStart.applyOn",
        ),
        (
            with("Layers", json!(["arn"])),
            "InvalidParameterValueException",
            "Layers",
        ),
        (with("Code", json!({})), "InvalidParameterValueException", "ZipFile"),
        (
            with("Code", json!({ "ZipFile": "!" })),
            "InvalidParameterValueException",
            "base 64",
        ),
        (
            with("Code", json!({ "ZipFile": "aGk=" })),
            "InvalidParameterValueException",
            "unzip",
        ),
        (
            with("Code", json!({ "ZipFile": &ZIP[..40] })),
            "InvalidParameterValueException",
            "",
        ),
        (
            with("Code", json!({ "S3Bucket": "b", "S3Key": "k" })),
            "InvalidParameterValueException",
            "S3",
        ),
        (
            with("VpcConfig", json!({ "SubnetIds": ["s"] })),
            "InvalidParameterValueException",
            "VpcConfig",
        ),
        (
            with("Environment", json!({ "Variables": { "AWS_REGION": "x" } })),
            "InvalidParameterValueException",
            "AWS_REGION",
        ),
    ] {
        let answer = ask(&f, Method::POST, ROOT, Some(body)).await;
        assert_eq!(kind(&answer), wanted, "{word}: {answer:?}");
        let message = answer.json::<Value>()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(word), "{word}: {message}");
    }
    let list: Value = ask(&f, Method::GET, ROOT, None).await.json();
    assert_eq!(
        list["Functions"].as_array().unwrap().len(),
        1,
        "nothing is left of what was refused"
    );
}

#[tokio::test]
async fn permissions_urls_concurrency_and_tags_are_kept() {
    let f = fixture().await;
    let made = made(&f, "f").await;
    let public = async || f.get("/v1/functions/f").await.json::<Function>().public;
    let policy = format!("{ROOT}/f/policy");
    let everybody = json!({ "StatementId": "s", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE" });
    let added = ask(&f, Method::POST, &policy, Some(everybody.clone())).await;
    assert_eq!((added.status, public().await), (StatusCode::CREATED, true));
    assert_eq!(
        kind(&ask(&f, Method::POST, &policy, Some(everybody)).await),
        "ResourceConflictException"
    );
    let service = json!({ "StatementId": "t", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com" });
    assert_eq!(
        kind(&ask(&f, Method::POST, &policy, Some(service)).await),
        "InvalidParameterValueException"
    );
    let shown: Value = ask(&f, Method::GET, &policy, None).await.json();
    assert!(shown["Policy"].as_str().unwrap().contains("InvokeFunctionUrl"));
    assert_eq!(
        ask(&f, Method::DELETE, &format!("{policy}/s"), None).await.status,
        StatusCode::NO_CONTENT
    );
    assert!(!public().await);
    assert_eq!(
        kind(&ask(&f, Method::GET, &policy, None).await),
        "ResourceNotFoundException"
    );

    let concurrency = "/2017-10-31/functions/f/concurrency";
    for (wanted, status) in [(0, StatusCode::BAD_REQUEST), (3, StatusCode::OK)] {
        let body = json!({ "ReservedConcurrentExecutions": wanted });
        assert_eq!(
            ask(&f, Method::PUT, concurrency, Some(body)).await.status,
            status,
            "{wanted}"
        );
    }
    assert_eq!(f.get("/v1/functions/f").await.json::<Function>().scale.max, 3);
    assert_eq!(
        ask(&f, Method::DELETE, concurrency, None).await.status,
        StatusCode::NO_CONTENT
    );

    let arn = made["FunctionArn"].as_str().unwrap().replace(':', "%3A");
    let tags = format!("/2017-03-31/tags/{arn}");
    ask(
        &f,
        Method::POST,
        &tags,
        Some(json!({ "Tags": { "a": "1", "b c": "2" } })),
    )
    .await;
    ask(&f, Method::DELETE, &format!("{tags}?tagKeys=a&tagKeys=none"), None).await;
    let left: Value = ask(&f, Method::GET, &tags, None).await.json();
    assert_eq!(left["Tags"], json!({ "b c": "2" }));

    // The gateway of this server has no address, and so the function no URL.
    let url = "/2021-10-31/functions/f/url";
    let refused = ask(&f, Method::POST, url, Some(json!({ "AuthType": "NONE" }))).await;
    assert_eq!(kind(&refused), "InvalidParameterValueException");
    assert_eq!(
        kind(&ask(&f, Method::GET, url, None).await),
        "ResourceNotFoundException"
    );
}

#[tokio::test]
async fn calls_are_kept_or_only_asked_about() {
    let f = fixture().await;
    made(&f, "f").await;
    let path = format!("{ROOT}/f/invocations");
    let call = async |kind: &str, path: &str| {
        let mut request = crate::tenancy::asking(Method::POST, path, Some(json!({ "a": 1 })));
        request
            .headers_mut()
            .insert("x-amz-invocation-type", kind.parse().unwrap());
        request
            .headers_mut()
            .insert("amz-sdk-invocation-id", "one".parse().unwrap());
        f.send(request).await
    };
    assert_eq!(call("DryRun", &path).await.status, StatusCode::NO_CONTENT);
    let (first, again) = (call("Event", &path).await, call("Event", &path).await);
    assert_eq!(first.status, StatusCode::ACCEPTED);
    // A client that did not hear the answer tries again, and the call is kept once.
    assert_eq!(first.headers["x-amzn-requestid"], again.headers["x-amzn-requestid"]);
    assert_eq!(kind(&call("Sometime", &path).await), "InvalidParameterValueException");
    for kind_of_call in ["DryRun", "Event", "RequestResponse"] {
        for missing in [format!("{ROOT}/none/invocations"), format!("{path}?Qualifier=none")] {
            let answer = call(kind_of_call, &missing).await;
            assert_eq!(kind(&answer), "ResourceNotFoundException", "{kind_of_call} {missing}");
        }
    }
}
