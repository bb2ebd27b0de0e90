//! The registry behind the facade.

use hearth_telemetry::{Page, Registry};
use metrics::{counter, gauge, histogram, with_local_recorder};

fn text(registry: &Registry) -> String {
    registry.text(Page::default())
}

#[test]
fn what_the_facade_is_told_is_in_the_text() {
    let registry = Registry::default();
    with_local_recorder(&registry, || {
        counter!("hearth_gateway_errors_total", "code" => "no_route").increment(2);
        counter!("hearth_gateway_errors_total", "code" => "no_route").increment(1);
        gauge!("hearth_gateway_connections").increment(5);
        gauge!("hearth_gateway_connections").decrement(2);
        histogram!("hearth_api_request_seconds", "operation" => "version").record(0.003);
    });
    let text = text(&registry);
    for line in [
        "hearth_gateway_errors_total{code=\"no_route\"} 3",
        "hearth_gateway_connections 3",
        "hearth_api_request_seconds_bucket{operation=\"version\",le=\"0.0025\"} 0",
        "hearth_api_request_seconds_bucket{operation=\"version\",le=\"0.005\"} 1",
        "hearth_api_request_seconds_bucket{operation=\"version\",le=\"+Inf\"} 1",
        "hearth_api_request_seconds_sum{operation=\"version\"} 0.003",
        "hearth_api_request_seconds_count{operation=\"version\"} 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_metric_that_is_not_listed_or_of_another_kind_is_not_told() {
    let registry = Registry::default();
    with_local_recorder(&registry, || {
        counter!("hearth_of_nobody_total").increment(1);
        gauge!("hearth_gateway_errors_total", "code" => "x").set(1);
    });
    let text = text(&registry);
    assert!(!text.contains("hearth_of_nobody_total"));
    assert!(!text.contains("code=\"x\""));
}

#[test]
fn what_is_gone_is_forgotten_and_what_is_not_stays() {
    let registry = Registry::default();
    with_local_recorder(&registry, || {
        for function in ["one", "other"] {
            counter!("hearth_function_cold_starts_total", "project" => "p", "function" => function, "version" => "1")
                .increment(1);
        }
    });
    registry.forget(|labels| labels.get("function") == Some(&"one"));
    let text = text(&registry);
    assert!(!text.contains("function=\"one\""));
    assert!(text.contains("function=\"other\""));
}
