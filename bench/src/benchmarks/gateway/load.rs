//! Load by `wrk`, and what it says.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use tokio::process::Command;

/// What came of some load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Answers in a second.
    pub(crate) rate: f64,
    /// In milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Asks for the path on so many connections, each as fast as it is answered.
pub(super) async fn load(at: SocketAddr, path: &str, connections: u32, time: Duration) -> anyhow::Result<Seen> {
    load_with(at, path, connections, time, None).await
}

/// The same with a header.
pub(crate) async fn load_with(
    at: SocketAddr,
    path: &str,
    connections: u32,
    time: Duration,
    header: Option<&str>,
) -> anyhow::Result<Seen> {
    let output = Command::new("wrk")
        .args(header.iter().flat_map(|header| ["-H", header]))
        .args(["--latency", "-t1", &format!("-c{connections}")])
        .arg(format!("-d{}s", time.as_secs().max(1)))
        .arg(format!("http://{at}{path}"))
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run wrk; install the package wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(output.status.success(), "wrk failed: {text}");
    read(&text).with_context(|| format!("http://{at}{path}: {text}"))
}

fn read(text: &str) -> anyhow::Result<Seen> {
    anyhow::ensure!(!text.contains("Non-2xx"), "not all were answered well");
    anyhow::ensure!(!text.contains("Socket errors"), "connections failed");
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map(str::trim).with_context(|| format!("wrk says no {name}"))
    };
    Ok(Seen {
        rate: field("Requests/sec:")?.parse()?,
        p50: time_ms(field("50%")?)?,
        p99: time_ms(field("99%")?)?,
    })
}

/// `1.5s`, `2.25ms`, `104.00us`.
fn time_ms(text: &str) -> anyhow::Result<f64> {
    for (unit, factor) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)] {
        if let Some(number) = text.strip_suffix(unit)
            && let Ok(number) = number.parse::<f64>()
        {
            return Ok(number * factor);
        }
    }
    anyhow::bail!("{text:?} is no time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let text = "  Latency Distribution\n     50%  104.00us\n     75%    1.10ms\n     99%    4.73ms\nRequests/sec:   5642.55\n";
        let seen = read(text).unwrap();
        assert!(
            (seen.p50 - 0.104).abs() < 1e-9 && (seen.p99 - 4.73).abs() < 1e-9 && (seen.rate - 5642.55).abs() < 1e-9
        );
        assert!(read("Requests/sec: 1\n").is_err());
        assert!(read(&format!("{text}  Non-2xx or 3xx responses: 3\n")).is_err());
        assert!((time_ms("1.50s").unwrap() - 1500.0).abs() < 1e-9);
        assert!(time_ms("1.5h").is_err());
    }
}
