//! nginx with one worker: as a fast upstream, and as the proxy to compare with.

use std::{fs, net::SocketAddr, process::Command};

use anyhow::Context as _;

use super::{Server, free_address};
use crate::host::Ground;

/// Serves files: `/1k` and `/1m`.
pub(crate) fn upstream(ground: &Ground) -> anyhow::Result<Server> {
    let root = ground.subfolder("www")?;
    fs::write(root.join("1k"), vec![b'x'; 1 << 10])?;
    fs::write(root.join("1m"), vec![b'x'; 1 << 20])?;
    let location = format!("root {};", root.display());
    start(ground, "upstream", "", &location)
}

/// Passes everything on.
pub(crate) fn proxy(ground: &Ground, to: SocketAddr) -> anyhow::Result<Server> {
    let upstream = format!("upstream to {{ server {to}; keepalive 512; keepalive_requests 1000000000; }}");
    let location = "proxy_pass http://to; proxy_http_version 1.1; proxy_set_header Connection \"\";\
        proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;\
        proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-Id $request_id;";
    start(ground, "nginx", &upstream, location)
}

fn start(ground: &Ground, name: &str, upstream: &str, location: &str) -> anyhow::Result<Server> {
    let folder = ground.subfolder(name)?;
    let address = free_address()?;
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};", folder.display()))
        .join("\n");
    let folder_text = folder.display();
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let config = format!(
        "daemon off; worker_processes 1; {user} pid {folder_text}/pid; error_log {folder_text}/errors;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; open_file_cache max=10;\n\
         {temporary}\n{upstream}\nserver {{ listen {address} backlog=1024; location / {{ {location} }} }} }}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
    Server::start(
        Command::new("nginx").arg("-p").arg(&folder).arg("-c").arg(&file),
        address,
    )
}
