//! Servers that benchmarks compare: each on one thread, on loopback, gone when it is dropped.

mod envoy;
mod hearth;
mod nginx;

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
pub(crate) use envoy::proxy as envoy;
pub(crate) use hearth::{GATEWAY_COMMAND, PATH as GATEWAY_PATH, proxy as gateway, route, run_gateway};
pub(crate) use nginx::{proxy as nginx, upstream};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts the program and waits until it listens.
    fn start(program: &mut Command, address: SocketAddr) -> anyhow::Result<Self> {
        let program = program.stdin(Stdio::null()).stdout(Stdio::null());
        let child = program.spawn().with_context(|| format!("cannot start {program:?}"))?;
        let mut server = Self { child, address };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                anyhow::bail!("{program:?} ended at once: {status}");
            }
            anyhow::ensure!(Instant::now() < deadline, "{program:?} does not listen on {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx ends its worker only when it is asked to.
        if let Some(pid) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _gone_already = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
