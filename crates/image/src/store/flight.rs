//! Single flight: whoever wants an image that is being made waits for it, and sees its progress.
//!
//! Each caller has found out by itself, with its own credentials, that it may have the image; only the work is shared. If the one who works fails or
//! goes away, the next one works.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::lock::FileLock;
use crate::digest::ImageId;
use crate::error::StoreError;
use crate::progress::{Progress, ProgressSink};

#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<ImageId, Weak<Flight>>>);

#[derive(Debug, Default)]
pub(crate) struct Flight {
    /// Held by the one who works.
    turn: Arc<tokio::sync::Mutex<()>>,
    listeners: Mutex<Vec<ProgressSink>>,
}

impl Flights {
    /// Joins the flight of `id`, or starts it. It ends when everybody has left.
    pub(crate) fn join(&self, id: ImageId, listener: &ProgressSink) -> Arc<Flight> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = flights.get(&id).and_then(Weak::upgrade).unwrap_or_default();
        flights.insert(id, Arc::downgrade(&flight));
        flight
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener.clone());
        flight
    }
}

/// The right to work, while nobody else does: among processes, and inside this one. Without the guards, others work too.
pub(crate) struct Turn {
    flight: Arc<Flight>,
    _guards: Option<(FileLock, OwnedMutexGuard<()>)>,
}

impl Turn {
    /// A sink that everybody in the flight hears.
    pub(crate) fn progress(&self) -> ProgressSink {
        self.flight.progress()
    }
}

impl Flight {
    /// Waits until nobody else works, or until `patience` ends: whoever works may wait for a registry that never gives
    /// anything. To work twice costs time, but no more, since only one result is published.
    pub(crate) async fn turn(self: Arc<Self>, lock: &Path, patience: Duration) -> Result<Turn, StoreError> {
        let guards = async {
            let inside = Arc::clone(&self.turn).lock_owned().await;
            Ok((FileLock::wait(lock).await?, inside))
        };
        let guards = tokio::time::timeout(patience, guards).await.ok().transpose()?;
        Ok(Turn {
            flight: self,
            _guards: guards,
        })
    }

    fn progress(self: &Arc<Self>) -> ProgressSink {
        let flight = Arc::clone(self);
        ProgressSink::new(move |event: Progress| {
            let listeners = flight.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for listener in listeners {
                listener.send(event.clone());
            }
        })
    }
}
