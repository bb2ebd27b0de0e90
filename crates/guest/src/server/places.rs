//! Places that are taken at once or not at all.

use std::rc::Rc;

use tokio::sync::Semaphore;

/// One of a bounded number; given back when dropped.
pub(crate) struct Place(Rc<Semaphore>);

impl Place {
    pub(crate) fn take(places: &Rc<Semaphore>) -> Option<Self> {
        places.try_acquire().ok()?.forget();
        Some(Self(Rc::clone(places)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}
