//! Which volumes a sandbox mounts, and where.

use std::collections::BTreeSet;

use hearth_domain::{SandboxVolume, VolumeMount};

use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
};

const FIELD: &str = "volumeMounts";
/// Volumes of one sandbox.
const MOUNTS_MAX: usize = 16;
const PATH_MAX: usize = 1024;
/// What is mounted over would break the guest.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Looks up the volumes of a request: names and paths.
pub(crate) async fn mounts(app: &App, tenant: &Tenant, wanted: Vec<(String, String)>) -> ApiResult<Vec<SandboxVolume>> {
    if wanted.len() > MOUNTS_MAX {
        let detail = format!("{FIELD} has {} entries: at most {MOUNTS_MAX}", wanted.len());
        return Err(ApiError::field(FIELD, detail));
    }
    let (mut found, mut paths) = (Vec::new(), BTreeSet::new());
    for (name, path) in wanted {
        let path = normal(&path)?;
        if !paths.insert(path.clone()) {
            let detail = format!("{FIELD} has the path {path:?} twice; mount each volume at a path of its own");
            return Err(ApiError::field(FIELD, detail));
        }
        let row = app.store.volume_named(tenant.project, &name).await?;
        let Some(row) = row else {
            let name: String = name.chars().take(80).collect();
            let detail = format!("{FIELD} names the volume {name:?}, which is not there; make it first");
            return Err(ApiError::field(FIELD, detail));
        };
        let mount = VolumeMount { volume: row.id, path };
        found.push(SandboxVolume { name, mount });
    }
    Ok(found)
}

/// A path as the guest takes it.
fn normal(path: &str) -> ApiResult<String> {
    let refused = |why: &str| {
        let shown: String = path.chars().take(80).collect();
        ApiError::field(FIELD, format!("{FIELD} has the path {shown:?}, which {why}"))
    };
    if path.len() > PATH_MAX {
        return Err(refused("is too long: it may have 1024 bytes"));
    }
    if !path.starts_with('/') || path.contains(char::is_control) {
        return Err(refused("is not absolute, or not printable: use one like /mnt/data"));
    }
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.is_empty() || names.contains(&"..") {
        return Err(refused("is the root, or leads upwards: use one like /mnt/data"));
    }
    let normal = format!("/{}", names.join("/"));
    let is_within = |folder: &&str| normal == **folder || normal.starts_with(&format!("{folder}/"));
    if RESERVED.iter().any(is_within) {
        return Err(refused("is the system's: use one like /mnt/data"));
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_a_guests_own_and_said_in_one_way() {
        assert_eq!(normal("/mnt//data/.").unwrap(), "/mnt/data");
        for bad in ["", "mnt", "/", "/.", "/a/../etc", "/proc", "/dev/x", "/a\nb", "/a\0b"] {
            let error = normal(bad).unwrap_err();
            assert_eq!(error.problem.field.as_deref(), Some(FIELD), "{bad:?}");
        }
        assert!(normal(&format!("/{}", "a".repeat(PATH_MAX))).is_err());
        assert!(normal("/devices").is_ok());
    }
}
