use serde_json::json;

use super::*;

fn answered(value: &Value, error: bool) -> Result<Response<Body>, CallError> {
    let mut response = Response::new(());
    if error {
        let kind = HeaderValue::from_static("Unhandled");
        response.headers_mut().insert("x-amz-function-error", kind);
    }
    of(&response.into_parts().0, &Bytes::from(value.to_string()))
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect(1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_status_with_what_belongs_to_it() {
    let response = answered(
        &json!({
            "statusCode": 201,
            "headers": {"X-A": "1", "x-n": 2, "content-length": "999", "Content-Type": "text/plain"},
            "cookies": ["a=1", "b=2"],
            "body": "aGk=",
            "isBase64Encoded": true,
        }),
        false,
    )
    .unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-a"], "1");
    assert_eq!(response.headers()["x-n"], "2");
    assert_eq!(response.headers()["content-type"], "text/plain");
    assert!(!response.headers().contains_key("content-length"));
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(text(response).await, "hi");
}

#[tokio::test]
async fn anything_else_is_the_body() {
    for value in [json!("hello"), json!({"a": 1}), json!(null), json!([1, 2])] {
        let response = answered(&value, false).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(text(response).await, value.to_string());
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (value, said) in [
        (json!({"statusCode": 99}), "statusCode"),
        (json!({"statusCode": 101}), "statusCode"),
        (json!({"statusCode": {}}), "statusCode"),
        (json!({"statusCode": 200, "headers": {"a b": "1"}}), "header"),
        (json!({"statusCode": 200, "headers": {"a": "x\r\nb: y"}}), "header"),
        (json!({"statusCode": 200, "cookies": ["a\n"]}), "cookie"),
        (
            json!({"statusCode": 200, "body": "%", "isBase64Encoded": true}),
            "base 64",
        ),
    ] {
        let error = answered(&value, false).unwrap_err();
        assert!(
            matches!(&error, CallError::BadAnswer(text) if text.contains(said)),
            "{error}"
        );
    }
}

#[test]
fn a_programs_error_is_passed_on() {
    let error = answered(&json!({"errorMessage": "no", "errorType": "ValueError"}), true).unwrap_err();
    assert_eq!(error, CallError::FunctionError("ValueError: no".to_owned()));
}
