//! How many calls are under way at once: in all, and in one caller's name.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Calls under way at once, of all callers.
pub(crate) const CALLS_MAX: usize = 32;
/// Of these, those in the name of one key: others' agents are to find room.
pub(crate) const CALLS_OF_KEY_MAX: usize = 12;

/// Counts calls.
#[derive(Default)]
pub(crate) struct Places {
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    all: usize,
    by_key: HashMap<String, usize>,
}

/// A call that is under way; over when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    key: Option<String>,
}

impl Places {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more call, in the name of a key; without one there is only one caller. Else how many are too many.
    pub(crate) fn take(self: &Arc<Self>, key: Option<&str>) -> Result<Place, usize> {
        let mut calls = self.calls();
        if calls.all >= CALLS_MAX {
            return Err(CALLS_MAX);
        }
        if let Some(key) = key {
            let of_key = calls.by_key.entry(key.to_owned()).or_default();
            if *of_key >= CALLS_OF_KEY_MAX {
                return Err(CALLS_OF_KEY_MAX);
            }
            *of_key += 1;
        }
        calls.all += 1;
        Ok(Place {
            places: Arc::clone(self),
            key: key.map(ToOwned::to_owned),
        })
    }
}

impl fmt::Debug for Places {
    /// Keys stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("all", &self.calls().all)
            .finish_non_exhaustive()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut calls = self.places.calls();
        calls.all -= 1;
        if let Some(key) = &self.key
            && let Some(count) = calls.by_key.get_mut(key)
        {
            *count -= 1;
            if *count == 0 {
                calls.by_key.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_leaves_room_for_others() {
        let places = Arc::new(Places::default());
        let own: Vec<_> = (0..CALLS_OF_KEY_MAX).map(|_| places.take(Some("a")).ok()).collect();
        assert_eq!(places.take(Some("a")).err(), Some(CALLS_OF_KEY_MAX));
        let other = places.take(Some("b")).ok();
        assert!(own.iter().all(Option::is_some) && other.is_some());
        drop(own);
        assert!(places.take(Some("a")).is_ok());
        drop(other);
        assert!(places.calls().by_key.is_empty() && places.calls().all == 0);
        let all: Vec<_> = (0..CALLS_MAX).map(|_| places.take(None).ok()).collect();
        assert_eq!(places.take(Some("c")).err(), Some(CALLS_MAX));
        assert_eq!(all.len(), CALLS_MAX);
    }
}
