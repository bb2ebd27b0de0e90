//! The volumes of a machine: served to it alone, by its slot, for as long as it has one.

use hearth_domain::VolumeMount;
use hearth_guest_api::VOLUME_CLIENT_PORTS;
use hearth_guest_api::guest;
use hearth_network::GATEWAY_IPV4;
use hearth_volume::{Export, serve};
use tokio::runtime::Handle;

use super::Life;
use crate::services::chain;

/// Where a guest finds them, on its gateway.
const PORT: u16 = 2049;

impl Life {
    /// Serves the machine its volumes, unless that is done.
    pub(super) async fn serve_volumes(&mut self) -> Result<(), String> {
        if self.spec.volumes.is_empty() || self.serving.is_some() || self.slot().is_none() {
            return Ok(());
        }
        let exports = self.exports().await?;
        self.serve(exports).await
    }

    /// Serves nothing, where the machine goes on from one that had volumes which it has not: what its programs have open of these is
    /// refused by somebody, and they do not wait for ever.
    pub(super) async fn refuse_volumes(&mut self, gone: bool) -> Result<(), String> {
        if !gone || self.serving.is_some() {
            return Ok(());
        }
        self.serve(Vec::new()).await
    }

    async fn serve(&mut self, exports: Vec<Export>) -> Result<(), String> {
        let failed = |error: &dyn std::error::Error| format!("cannot serve the machine its volumes: {}", chain(error));
        let listener = self.network().serve(self.spec.id, PORT).await;
        let listener = listener.map_err(|error| failed(&error))?;
        let serving =
            serve(&Handle::current(), listener, exports, VOLUME_CLIENT_PORTS).map_err(|error| failed(&error))?;
        self.serving = Some(serving);
        Ok(())
    }

    /// The same for a machine that is taken up again. Until it is done, whoever wants a file of a volume waits.
    pub(super) async fn heal_volumes(&mut self) {
        if let Err(reason) = self.serve_volumes().await {
            tracing::error!(machine = %self.spec.id, reason, "a machine's volumes do not answer until its next start");
        }
    }

    /// Ends that, with all connections.
    pub(super) async fn end_volumes(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.end().await;
        }
    }

    /// What the guest is told to mount: what there is by now of what was asked for.
    pub(super) async fn volumes_of_guest(&self) -> Result<guest::Volumes, String> {
        let there: Vec<_> = self.exports().await?.iter().map(|folder| folder.id()).collect();
        let wanted = self.spec.volumes.iter().filter(|mount| there.contains(&mount.volume));
        Ok(guest::Volumes {
            address: GATEWAY_IPV4.to_string(),
            port: PORT.into(),
            mounts: wanted.map(told).collect(),
        })
    }

    async fn exports(&self) -> Result<Vec<Export>, String> {
        if self.spec.volumes.is_empty() {
            return Ok(Vec::new());
        }
        let (volumes, spec) = (self.services.volumes.clone(), self.spec.clone());
        let found = tokio::task::spawn_blocking(move || {
            let found = spec.volumes.iter().map(|mount| volumes.get(mount.volume));
            found.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
        });
        let found = found.await.map_err(|error| error.to_string())?;
        found.map_err(|error| chain(&error))
    }
}

fn told(mount: &VolumeMount) -> guest::VolumeMount {
    guest::VolumeMount {
        source: format!("/{}", mount.volume),
        path: mount.path.clone(),
    }
}

/// An agent that knows nothing of volumes leaves them out, and its programs would write elsewhere.
pub(super) fn check_mounted(asked: usize, mounted: u32) -> Result<(), String> {
    if usize::try_from(mounted).is_ok_and(|mounted| mounted >= asked) {
        return Ok(());
    }
    Err(format!(
        "the guest has mounted {mounted} of {asked} volumes: its agent is older than volumes are; build its template anew"
    ))
}
