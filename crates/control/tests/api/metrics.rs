//! What Prometheus is told.

use std::{collections::BTreeSet, sync::Arc};

use hearth_api::{ProblemCode, Role};
use hearth_control::{ListenError, Listener};
use hearth_node_api::fake::FakeNode;
use hearth_telemetry::METRICS;
use hearth_testkit::promtool;
use http::{Method, StatusCode};
use tokio::net::TcpStream;

use crate::{
    fixture::{Answer, Fixture, machine, send_on},
    tenancy::{Realm, asking},
};

fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(
        answer.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// The value of the series that is written so.
fn value(text: &str, series: &str) -> f64 {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{text}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn what_there_is_and_what_happened_is_told() {
    let f = Fixture::new().await;
    f.make(machine(&["sleep"])).await;
    f.get("/v1/machines/nobody").await.problem();
    let text = text(&f.get("/metrics").await);
    for (series, wanted) in [
        ("hearth_machines{state=\"pending\"}", 1.0),
        ("hearth_machines{state=\"running\"}", 0.0),
        ("hearth_images", 1.0),
        ("hearth_instances{state=\"serving\"}", 0.0),
        ("hearth_provision_queue_waiting", 0.0),
        ("hearth_kept_calls{state=\"dead\"}", 0.0),
        (
            "hearth_api_requests_total{operation=\"create_machine\",status=\"201\"}",
            1.0,
        ),
        ("hearth_api_request_seconds_count{operation=\"create_machine\"}", 1.0),
        ("hearth_api_problems_total{code=\"machine_not_found\"}", 1.0),
    ] {
        assert!((value(&text, series) - wanted).abs() < 1e-9, "{series}");
    }
    for series in [
        "hearth_process_cpu_seconds_total",
        "hearth_process_resident_memory_bytes",
        "hearth_process_open_fds",
        "hearth_image_bytes",
        "hearth_node_memory_capacity_bytes",
    ] {
        assert!(value(&text, series) > 0.0, "{series}");
    }
}

#[tokio::test]
async fn each_series_is_of_a_listed_metric_with_the_labels_that_are_listed() {
    let f = Fixture::new().await;
    f.get("/v1/machines/nobody").await.problem();
    let text = text(&f.get("/metrics").await);
    let mut seen = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series
            .split_once('{')
            .map_or((series, ""), |(name, rest)| (name, rest.trim_end_matches('}')));
        let family = METRICS
            .iter()
            .find(|metric| {
                let rest = name.strip_prefix(metric.name);
                rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
            })
            .unwrap_or_else(|| panic!("{name} is not listed"));
        let names = labels.split("\",").filter(|label| !label.is_empty());
        let names: BTreeSet<&str> = names.map(|label| label.split('=').next().unwrap()).collect();
        let listed: BTreeSet<&str> = family.labels.iter().copied().collect();
        let bucket = BTreeSet::from(["le"]);
        assert_eq!(
            names.difference(&bucket).copied().collect::<BTreeSet<_>>(),
            listed,
            "{line}"
        );
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}

#[tokio::test]
async fn only_keys_of_the_host_s_project_may_read_them() {
    let r = Realm::new().await;
    r.project("a", serde_json::json!({})).await;
    let ask = || asking(Method::GET, "/metrics", None);
    assert_eq!(r.send(None, ask()).await.status, StatusCode::UNAUTHORIZED);
    let foreign = r.key("a", Role::Admin, None).await.token;
    let refused = r.send(Some(&foreign), ask()).await;
    assert_eq!(refused.problem().code, ProblemCode::Forbidden);
    let invoker = r.key("default", Role::Invoker, None).await.token;
    assert_eq!(r.send(Some(&invoker), ask()).await.status, StatusCode::FORBIDDEN);
    let viewer = r.key("default", Role::Viewer, None).await.token;
    text(&r.send(Some(&viewer), ask()).await);
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_them() {
    let f = Fixture::new().await;
    f.get("/v1/machines/nobody").await.problem();
    let text = text(&f.get("/metrics").await);
    promtool::check_metrics(&text);
}

#[tokio::test]
async fn a_listener_of_its_own_tells_them_without_a_key_and_nothing_else() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let socket = folder.path().join("s");
    let watching = Listener::watching("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = watching.tcp_address().unwrap();
    let listeners = vec![Listener::unix(&socket).unwrap(), watching];
    let _server = Fixture::listening(FakeNode::new(), folder, socket, listeners).await;
    let ask = async |path: &str, host: &str| {
        let request = http::Request::get(path).header("host", host);
        let request = request.body(http_body_util::Full::default()).unwrap();
        send_on(TcpStream::connect(address).await.unwrap(), request).await
    };
    text(&ask("/metrics", &address.to_string()).await);
    assert_eq!(ask("/readyz", "localhost").await.status, StatusCode::OK);
    assert_eq!(ask("/v1/machines", "localhost").await.status, StatusCode::NOT_FOUND);
    // The page of a name that was made to lead to 127.0.0.1.
    assert_eq!(ask("/metrics", "evil.example").await.status, StatusCode::FORBIDDEN);
    let far = Listener::watching("0.0.0.0:0".parse().unwrap()).await;
    assert!(matches!(far, Err(ListenError::NotLoopback(_))));
}
