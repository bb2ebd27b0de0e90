//! Where the daemon is reached from afar.

use std::net::IpAddr;

use anyhow::Context as _;
use hearth_control::{Identity, Listener};

use super::{gateway, state_dir::StateDir};
use crate::args::UpArgs;

/// What the daemon proves itself by wherever it listens by TLS: the user's certificate, or the own one. None, if it does
/// so nowhere.
pub(super) fn identity(args: &UpArgs, state: &StateDir) -> anyhow::Result<Option<Identity>> {
    let listened_on: Vec<_> = [by_tls(args), gateway::by_tls(args)].into_iter().flatten().collect();
    if listened_on.is_empty() {
        return Ok(None);
    }
    let found = match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => Identity::from_files(cert, key),
        _ => Identity::own(&state.private_folder("tls")?, &listened_on),
    };
    found.map(Some).context("cannot serve by TLS")
}

/// Listens on TCP, if told to: with TLS anywhere, and on loopback where it is asked for.
pub(super) async fn listen(args: &UpArgs, identity: Option<&Identity>) -> anyhow::Result<Option<Listener>> {
    let Some(address) = args.listen else { return Ok(None) };
    let Some(identity) = identity.filter(|_| by_tls(args).is_some()) else {
        return Ok(Some(Listener::tcp(address).await?));
    };
    tracing::info!(
        %address,
        fingerprint = identity.fingerprint,
        certificate = %identity.certificate.display(),
        "listening with TLS; clients trust the certificate by HEARTH_CA_FILE"
    );
    Ok(Some(Listener::tls(address, identity).await?))
}

/// Where the API is listened on by TLS.
fn by_tls(args: &UpArgs) -> Option<IpAddr> {
    let address = args.listen?.ip();
    (!address.is_loopback() || args.tls || args.tls_cert.is_some()).then_some(address)
}
