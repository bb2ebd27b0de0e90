//! What a Dockerfile may come to: a text of few bytes can say much, as each variable may hold others' values twice.

use std::cell::Cell;

use anyhow::Context as _;

/// Bytes that all variables and steps of a Dockerfile may have together.
const TOTAL_MAX: usize = 16 << 20;
/// What is counted for each of them beside its text.
const ENTRY_BYTES: usize = 64;

/// What is left. All stages share one.
#[derive(Debug)]
pub(super) struct Room {
    left: Cell<usize>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            left: Cell::new(TOTAL_MAX),
        }
    }
}

impl Room {
    /// Takes what a text of this length needs, and says how much that was.
    pub(super) fn entry(&self, length: usize) -> anyhow::Result<usize> {
        let bytes = length.saturating_add(ENTRY_BYTES);
        self.take(bytes)?;
        Ok(bytes)
    }

    pub(super) fn take(&self, bytes: usize) -> anyhow::Result<()> {
        let left = self.left.get().checked_sub(bytes).with_context(|| {
            format!(
                "variables and steps up to here have more than {TOTAL_MAX} bytes together: copy long texts from files, \
                 and name them rather than repeat them"
            )
        })?;
        self.left.set(left);
        Ok(())
    }
}
