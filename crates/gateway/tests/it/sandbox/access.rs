//! Who may: the agent's port, and the token of the others.

use hearth_gateway::{Body, GatewayConfig};
use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::{h2, over_h2, own_address, to, world};
use crate::{
    client::text,
    instance::{self, FakeInstance},
    world::LONG,
};

const AGENT_PORT: u16 = 49983;

/// Answers everything by the path that it was asked for.
async fn agent() -> FakeInstance {
    let listener = TcpListener::bind((own_address(), AGENT_PORT)).await.unwrap();
    FakeInstance::serve_on(listener, async |request: Request<Incoming>| {
        assert!(!request.headers().contains_key("x-hearth-token"));
        instance::text(request.uri().path())
    })
}

#[tokio::test]
async fn what_is_the_hosts_is_asked_by_nobody_else() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let agent = agent().await;
    let id = house.enter(agent.address, |_| ());
    for target in [
        "/init",
        "//init",
        "/%69nit",
        "/%2569nit",
        "/files/../init",
        "/files/%2e%2e/init",
        "/./init?x=/health",
        "/INIT/",
        "/hearth/archive?path=/",
        "/hearth.guest.v1.Guest/Init",
        "/health/../hearth.guest.v1.Guest/Follow",
        "/freeze",
        "/thaw",
        "/snapshot",
        "http://other.example/init",
    ] {
        // As it is: a client would put the path in order.
        let host = if target.starts_with("http") {
            target
                .to_owned()
                .replace("other.example", &format!("{AGENT_PORT}-{id}.d"))
        } else {
            target.to_owned()
        };
        let request = format!(
            "POST {host} HTTP/1.1\r\nhost: {AGENT_PORT}-{id}.d\r\nx-hearth-token: stolen\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        let answer = world.client().raw(request.as_bytes(), LONG).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{target}: {answer}");
        assert!(
            answer.contains("\"code\":403") && answer.contains(&id.to_string()),
            "{answer}"
        );
    }
    assert_eq!((agent.requests(), house.asked()), (0, 0));
    let mut sender = h2(&world).await;
    let refused = over_h2(to(agent.address, id, "//%69nit"));
    assert_eq!(sender.send_request(refused).await.unwrap().status(), 403);
    for path in ["/health", "/process.Process/Start", "/files", "/initial"] {
        let mut request = to(agent.address, id, path);
        request
            .headers_mut()
            .insert("x-hearth-token", "stolen".parse().unwrap());
        let response = world.client().send(request).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(text(response).await, path);
    }
}

#[tokio::test]
async fn the_hosts_paths_are_of_the_agents_port_alone() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let program = FakeInstance::serve(async |_| instance::text("mine")).await;
    let id = house.enter(program.address, |_| ());
    assert_eq!(
        world.client().send(to(program.address, id, "/init")).await.status(),
        200
    );
}

#[tokio::test]
async fn a_token_is_wanted_where_the_sandbox_has_one() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let program = FakeInstance::serve(async |request: Request<Incoming>| {
        assert!(!request.headers().contains_key("e2b-traffic-access-token"));
        instance::text("in")
    })
    .await;
    let id = house.enter(program.address, |known| known.token = Some("secret".into()));
    let send = async |tokens: &[&str]| {
        let mut request: Request<Body> = to(program.address, id, "/");
        for token in tokens {
            let token = token.parse().unwrap();
            request.headers_mut().append("E2B-Traffic-Access-Token", token);
        }
        let response = world.client().send(request).await;
        (response.status().as_u16(), text(response).await)
    };
    let missing = "Sandbox is secured with traffic access token. Token header 'e2b-traffic-access-token' is missing";
    for (tokens, what) in [
        (&[][..], "missing"),
        (&["wrong"], "invalid"),
        (&["secret2"], "invalid"),
        (&[""], "invalid"),
        (&["secret", "wrong"], "invalid"),
    ] {
        let (status, body) = send(tokens).await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let message = missing.replace("missing", what);
        let expected = serde_json::json!({"sandboxId": id.to_string(), "message": message, "code": 403});
        assert_eq!((status, body), (403, expected), "{tokens:?}");
    }
    assert_eq!(program.requests(), 0);
    assert_eq!(send(&["secret"]).await, (200, "in".to_owned()));
}

#[tokio::test]
async fn the_agents_port_asks_for_no_token() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let agent = agent().await;
    let id = house.enter(agent.address, |known| known.token = Some("secret".into()));
    assert_eq!(
        world.client().send(to(agent.address, id, "/health")).await.status(),
        200
    );
}
