use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

/// The ID and the port that a request with this host and these headers is for.
fn found(host: &str, pairs: &[(&'static str, &str)]) -> Option<(Option<SandboxId>, u16)> {
    let is_function = |host: &str| host.ends_with(".fn.localhost");
    let target = target(Some(host), &headers(pairs), is_function)?.unwrap();
    Some((target.id, target.port))
}

#[test]
fn hosts_name_sandboxes() {
    let id = SandboxId::new();
    let upper = id.to_string().to_uppercase();
    for host in [
        format!("3000-{id}.e2b.localhost"),
        format!("3000-{id}.localhost:8443"),
        format!("3000-{id}.a.b.c."),
        format!("3000-{id}"),
        format!("3000-{id}:80"),
        format!("3000-{upper}.E2B.dev"),
    ] {
        assert_eq!(found(&host, &[]), Some((Some(id), 3000)), "{host}");
    }
    assert_eq!(found(&format!("65535-{id}.d"), &[]), Some((Some(id), 65535)));
    // The form is right, but no ULID is written so.
    assert_eq!(found(&format!("1-sbx{}.d", "u".repeat(26)), &[]), Some((None, 1)));
    for host in [
        format!("0-{id}.d"),
        format!("03000-{id}.d"),
        format!("65536-{id}.d"),
        format!("+80-{id}.d"),
        format!("-{id}.d"),
        format!("{id}.d"),
        format!("3000-{id}x.d"),
        format!("3000-{}.d", &id.to_string()[..28]),
        format!("3000-mch{}.d", &id.to_string()[3..]),
        format!("3000_{id}.d"),
        format!("a.3000-{id}.d"),
        format!("3000-{id}.acme.fn.localhost"),
        format!("3000-sbx{}.d", "é".repeat(13)),
        "127.0.0.1:3000".to_owned(),
        String::new(),
    ] {
        assert_eq!(found(&host, &[]), None, "{host}");
    }
}

#[test]
fn headers_name_sandboxes_where_the_host_does_not() {
    let (id, other) = (SandboxId::new().to_string(), SandboxId::new());
    let both = [("e2b-sandbox-id", id.as_str()), ("e2b-sandbox-port", "49983")];
    let by_headers = Some((id.parse().ok(), 49983));
    for host in ["127.0.0.1:3000", "localhost", "sandbox.e2b.localhost", "e2b.dev"] {
        assert_eq!(found(host, &both), by_headers, "{host}");
    }
    assert_eq!(found(&format!("80-{other}.d"), &both), Some((Some(other), 80)));
    assert_eq!(found("hello.acme.fn.localhost", &both), None);
    assert_eq!(found("localhost", &both[1..]), None);
    let strange = [("e2b-sandbox-id", "<script>"), ("e2b-sandbox-port", "80")];
    assert_eq!(found("localhost", &strange), Some((None, 80)));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let id = SandboxId::new().to_string();
    let name = ("e2b-sandbox-id", id.as_str());
    let port = ("e2b-sandbox-port", "80");
    let by_host = format!("80-{id}.d");
    for (host, pairs) in [
        ("localhost", vec![name, name, port]),
        ("localhost", vec![name, port, port]),
        ("localhost", vec![name]),
        ("localhost", vec![name, ("e2b-sandbox-port", "080")]),
        ("localhost", vec![name, ("e2b-sandbox-port", "80, 81")]),
        ("localhost", vec![name, ("e2b-sandbox-port", "65536")]),
        (by_host.as_str(), vec![name, name, port]),
    ] {
        let found = target(Some(host), &headers(&pairs), |_| false).unwrap();
        assert!(matches!(found, Err(Refusal::Invalid(_))), "{host} {pairs:?}");
    }
}

#[test]
fn names_are_repeated_without_what_could_do_harm() {
    let long = "x".repeat(1000);
    for (name, repeated) in [
        ("<b>\"a\"&b</b>", "?b??a??b??b?"),
        ("a-B_c", "a-b_c"),
        (long.as_str(), &long[..64]),
    ] {
        let pairs = [("e2b-sandbox-id", name), ("e2b-sandbox-port", "80")];
        let found = target(None, &headers(&pairs), |_| false).unwrap().unwrap();
        assert_eq!(found.name, repeated);
    }
}
