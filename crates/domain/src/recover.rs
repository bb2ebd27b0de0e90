//! Whether a machine that lost its VMM goes on where it was.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Seconds between two recovery points, if nobody says: a crash costs no more than the last of them.
pub const RECOVER_INTERVAL_DEFAULT_S: u32 = 300;
/// The longest, in seconds: a day.
pub const RECOVER_INTERVAL_MAX_S: u32 = 86_400;

/// What happens to a machine whose VMM ends though nobody ended it: by a crash of its own, of its guest's kernel, or of the
/// node. A program that ends by itself is the affair of [`RestartPolicy`](crate::RestartPolicy).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "policy")]
pub enum RecoverPolicy {
    /// It has failed.
    #[default]
    No,
    /// It goes back to its last recovery point, a snapshot that the node makes of it and keeps for it alone.
    Snapshot {
        /// Seconds from one to the next; 1 to [`RECOVER_INTERVAL_MAX_S`].
        interval_s: u32,
    },
}

/// An interval that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("recover: an interval of {0} s is not possible; use 1 to {RECOVER_INTERVAL_MAX_S} s")]
pub struct InvalidInterval(u64);

impl RecoverPolicy {
    /// From snapshots, one in so many seconds; a default if absent.
    pub fn snapshot(interval_s: Option<u64>) -> Result<Self, InvalidInterval> {
        let seconds = interval_s.unwrap_or_else(|| u64::from(RECOVER_INTERVAL_DEFAULT_S));
        match u32::try_from(seconds) {
            Ok(interval_s @ 1..=RECOVER_INTERVAL_MAX_S) => Ok(Self::Snapshot { interval_s }),
            _ => Err(InvalidInterval(seconds)),
        }
    }

    /// Seconds from one recovery point to the next; none without any.
    pub fn interval_s(self) -> Option<u32> {
        match self {
            Self::No => None,
            Self::Snapshot { interval_s } => Some(interval_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_bounds() {
        let policy = |seconds| RecoverPolicy::snapshot(seconds).map(RecoverPolicy::interval_s);
        assert_eq!(policy(None), Ok(Some(300)));
        for seconds in [1, 86_400] {
            assert_eq!(policy(Some(seconds)), Ok(u32::try_from(seconds).ok()));
        }
        for seconds in [0, 86_401, u64::MAX] {
            assert_eq!(policy(Some(seconds)), Err(InvalidInterval(seconds)));
        }
        assert_eq!(RecoverPolicy::default().interval_s(), None);
    }
}
