//! Envoy on one thread. It comes inside a Python wheel, pinned by digest.

use std::{fs, net::SocketAddr, process::Command};

use hearth_testkit::envoy::envoy;

use super::{Server, free_address};
use crate::host::Ground;

/// Passes everything on. The error says why it is not to be had.
pub(crate) fn proxy(ground: &Ground, to: SocketAddr) -> anyhow::Result<Server> {
    let program = envoy().map_err(anyhow::Error::msg)?;
    let folder = ground.subfolder("envoy")?;
    let address = free_address()?;
    let file = folder.join("envoy.json");
    fs::write(&file, config(address, to).to_string())?;
    let mut command = Command::new(program);
    let quiet = ["--concurrency", "1", "--log-level", "critical", "--disable-hot-restart"];
    Server::start(command.arg("-c").arg(&file).args(quiet), address)
}

fn config(listen: SocketAddr, to: SocketAddr) -> serde_json::Value {
    let socket = |address: SocketAddr| serde_json::json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let limits = serde_json::json!({"thresholds": [
        {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}
    ]});
    serde_json::json!({"static_resources": {
        "listeners": [{
            "address": socket(listen),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "bench",
                    "route_config": {"virtual_hosts": [
                        {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "to"}}]}
                    ]},
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
                    }]
                }
            }]}]
        }],
        "clusters": [{
            "name": "to",
            "circuit_breakers": limits,
            "load_assignment": {
                "cluster_name": "to",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(to)}}]}]
            }
        }]
    }})
}
