//! Which function a request is for: an immutable table, replaced as a whole.
//!
//! | request | function |
//! |---|---|
//! | host `NAME.PROJECT.fn.<domain>` | what is live of it, the whole path |
//! | host `QUALIFIER.NAME.PROJECT.fn.<domain>` | that alias or version |
//! | path `/fn/PROJECT/NAME/rest`, `/fn/PROJECT/NAME:QUALIFIER/rest` | the same, with path `/rest` |
//! | path `/run/FUNCTION_ID/rest`, `/run/FUNCTION_ID:QUALIFIER/rest` | the same by its ID |

mod choose;
mod find;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

pub use choose::Qualifier;
pub(crate) use find::Found;
use hearth_domain::{Contract, FunctionSpec, Traffic};
use hearth_ids::FunctionId;

/// What the gateway has to know of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionFacts {
    /// How its instances are called.
    pub contract: Contract,
    /// How long a call may take, in milliseconds.
    pub timeout_ms: u64,
    /// Virtual CPUs of an instance.
    pub cpu: u32,
    /// Memory of an instance, in MiB.
    pub memory_mb: u32,
}

/// A function with its versions and where its calls go.
#[derive(Debug, Clone)]
pub struct Route {
    /// The function.
    pub function: FunctionSpec,
    /// Its project's name.
    pub project_name: String,
    /// Where calls go that name neither alias nor version; absent while there is no version.
    pub live: Option<Traffic>,
    /// Where calls go that name an alias.
    pub aliases: BTreeMap<String, Traffic>,
    /// The versions that can be called.
    pub versions: BTreeMap<u32, VersionFacts>,
}

/// All routes. Looking one up does not depend on how many there are.
#[derive(Debug, Default)]
pub struct RouteTable {
    by_id: HashMap<FunctionId, Arc<Route>>,
    /// By `label.project`, in lower case.
    by_name: HashMap<String, Arc<Route>>,
    /// `.fn.<domain>`, in lower case.
    suffix: String,
}

impl RouteTable {
    /// A table of these routes. `domain` is [`GatewayConfig::domain`](crate::GatewayConfig::domain).
    pub fn new(domain: &str, routes: Vec<Route>) -> Self {
        let mut table = Self {
            by_id: HashMap::with_capacity(routes.len()),
            by_name: HashMap::with_capacity(routes.len()),
            suffix: format!(".fn.{}", domain.to_ascii_lowercase()),
        };
        for route in routes {
            let name = format!(
                "{}.{}",
                route.function.name.label(),
                route.project_name.to_ascii_lowercase()
            );
            let route = Arc::new(route);
            table.by_id.insert(route.function.id, Arc::clone(&route));
            table.by_name.insert(name, route);
        }
        table
    }

    /// The route of a function.
    pub fn route(&self, function: FunctionId) -> Option<&Arc<Route>> {
        self.by_id.get(&function)
    }

    /// All routes.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.by_id.values()
    }
}
