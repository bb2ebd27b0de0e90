//! Where the daemon is reached from afar.

use anyhow::Context as _;
use hearth_control::{Identity, Listener, host_names};

use super::state_dir::StateDir;
use crate::args::UpArgs;

/// Listens on TCP, if told to: with TLS anywhere, and on loopback where it is asked for.
pub(super) async fn listen(args: &UpArgs, state: &StateDir) -> anyhow::Result<Option<Listener>> {
    let Some(address) = args.listen else { return Ok(None) };
    if address.ip().is_loopback() && !args.tls && args.tls_cert.is_none() {
        return Ok(Some(Listener::tcp(address).await?));
    }
    let identity = identity(args, state, address.ip()).context("cannot serve by TLS")?;
    tracing::info!(
        %address,
        fingerprint = identity.fingerprint,
        certificate = %identity.certificate.display(),
        "listening with TLS; clients trust the certificate by HEARTH_CA_FILE"
    );
    Ok(Some(Listener::tls(address, &identity).await?))
}

/// The user's certificate, or the own one.
pub(super) fn identity(args: &UpArgs, state: &StateDir, listened_on: std::net::IpAddr) -> anyhow::Result<Identity> {
    Ok(match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => Identity::from_files(cert, key)?,
        _ => Identity::own(&state.private_folder("tls")?, host_names(listened_on))?,
    })
}
