//! Calls whose answer is not waited for.

use hearth_gateway::{NotAccepted, Qualifier};

use crate::{
    client::{request, text, with_key},
    world::{World, route},
};

#[tokio::test]
async fn a_call_is_kept_and_its_number_told() {
    let route = route("later");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    for (name, value) in [
        ("prefer", "wait=5, respond-async"),
        ("x-hearth-invocation-type", "Event"),
    ] {
        let mut request = with_key(request("PUT", "/fn/acme/later:1/a?b", "body"));
        request.headers_mut().insert(name, value.parse().unwrap());
        request.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
        request.headers_mut().insert("x-hearth-attempt", "9".parse().unwrap());
        request.headers_mut().insert("x-own", "1".parse().unwrap());
        let response = world.client().send(request).await;
        assert_eq!(response.status(), 202);
        let header = response.headers()["x-hearth-invocation-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["invocation_id"], header);
        let call = world.told.accepted.lock().unwrap().pop().unwrap();
        assert_eq!((call.function, call.qualifier), (function, Qualifier::Version(1)));
        assert_eq!((call.method.as_str(), call.path.as_str()), ("PUT", "/a?b"));
        assert_eq!(
            (&call.body[..], call.idempotency_key.as_deref()),
            (&b"body"[..], Some("k1"))
        );
        assert!(call.headers.contains_key("x-own") && !call.headers.contains_key(name));
        assert!(!call.headers.contains_key("x-hearth-attempt"));
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let world = World::new(vec![route("later")]).await;
    let call = |body: Vec<u8>, key: String| {
        let mut request = request("POST", "/fn/acme/later", body);
        request.headers_mut().insert("prefer", "respond-async".parse().unwrap());
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        world.client().send(request)
    };
    assert_eq!(call(vec![0; (1 << 20) + 1], "k".to_owned()).await.status(), 413);
    // Who sends a blank one would be answered with the call of another who does.
    for key in ["k".repeat(256), String::new()] {
        assert_eq!(call(Vec::new(), key).await.status(), 400);
    }
    assert!(world.told.accepted.lock().unwrap().is_empty());
    for (error, status) in [
        (NotAccepted::Full, 503),
        (NotAccepted::Conflict, 409),
        (NotAccepted::Unavailable("disk full".to_owned()), 503),
    ] {
        *world.told.full.lock().unwrap() = Some(error);
        assert_eq!(call(Vec::new(), "k".to_owned()).await.status(), status);
    }
}
