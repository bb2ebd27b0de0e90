//! The right to one call on one instance.

use std::sync::Arc;

use super::{Pool, Upstream};
use crate::RetireReason;

/// One call's place on an instance. Free again when it is dropped.
pub(crate) struct Place {
    pool: Arc<Pool>,
    upstream: Arc<Upstream>,
}

impl Place {
    pub(super) fn new(pool: Arc<Pool>, upstream: Arc<Upstream>) -> Self {
        Self { pool, upstream }
    }

    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The instance could not be reached: it is given no calls for a while, and if that goes on none at all.
    pub(crate) fn unreachable(&self) {
        self.upstream.strike();
        self.suspect();
    }

    /// The instance broke a connection: it is given no calls for a while.
    pub(crate) fn suspect(&self) {
        self.upstream.suspect(self.pool.config.upstream.suspect);
        self.pool.changed.notify_one();
    }

    /// The instance must not be given calls any more.
    pub(crate) fn condemn(&self, reason: RetireReason) {
        self.upstream.condemn(reason);
        self.pool.changed.notify_one();
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.release(&self.upstream);
    }
}
