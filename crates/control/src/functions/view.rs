//! Functions as clients see them.

use hearth_api::{Alias, Function, FunctionVersion, Resources, Scale, TrafficShare};
use hearth_domain::Traffic;
use hearth_store::{AliasRow, FunctionRow, VersionRow};

use crate::time::timestamp;

/// What is known of a function beside its row.
pub(crate) struct Around {
    /// The alias of that name.
    pub(crate) live: Option<AliasRow>,
    pub(crate) latest: Option<VersionRow>,
    pub(crate) urls: Vec<String>,
    pub(crate) instances: u32,
}

pub(crate) fn function(row: FunctionRow, around: Around) -> Function {
    let scale = row.spec.scale;
    Function {
        id: row.spec.id,
        name: row.spec.name.into(),
        public: row.spec.public,
        scale: Scale {
            min: scale.min,
            max: scale.max,
            concurrency: scale.concurrency,
            idle_ms: scale.idle_ms,
        },
        traffic: around.live.map(|alias| traffic(&alias.traffic)).unwrap_or_default(),
        latest: around.latest.map(version),
        urls: around.urls,
        instances: around.instances,
        created_at: timestamp(row.created_unix_ms),
        updated_at: timestamp(row.updated_unix_ms),
    }
}

pub(crate) fn version(row: VersionRow) -> FunctionVersion {
    let spec = row.spec;
    let port = spec.port();
    let env = spec.workload.env.into_iter();
    FunctionVersion {
        version: spec.number,
        image: spec.image,
        image_id: spec.image_id,
        source: spec.layers.into_iter().next(),
        runtime: spec.runtime.map(Into::into),
        handler: spec.handler.map(Into::into),
        contract: spec.contract.into(),
        port,
        resources: Resources {
            cpus: spec.resources.vcpus.into(),
            memory_mib: spec.resources.memory_mib.into(),
            disk_mib: spec.resources.disk_mib.map(Into::into),
        },
        env: env.map(|(name, value)| format!("{name}={value}")).collect(),
        secrets: spec.secrets.into_iter().map(Into::into).collect(),
        timeout_ms: spec.timeout_ms,
        driver: spec.driver.map(Into::into),
        description: spec.description,
        created_at: timestamp(row.created_unix_ms),
    }
}

pub(crate) fn alias(row: AliasRow) -> Alias {
    Alias {
        name: row.name,
        traffic: traffic(&row.traffic),
        description: row.description,
        updated_at: timestamp(row.updated_unix_ms),
    }
}

pub(crate) fn traffic(traffic: &Traffic) -> Vec<TrafficShare> {
    let shares = traffic.shares().iter().map(|share| TrafficShare {
        version: share.version,
        percent: share.percent.into(),
    });
    shares.collect()
}
