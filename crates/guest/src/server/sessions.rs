//! The connections that the agent serves, each by its other end, so that all but one can be ended.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::sync::Notify;

/// Open connections.
#[derive(Default)]
pub(crate) struct Sessions {
    open: RefCell<BTreeMap<u64, (SocketAddr, Rc<Notify>)>>,
    next: Cell<u64>,
}

/// One open connection; forgotten when dropped.
pub(super) struct Session {
    sessions: Rc<Sessions>,
    number: u64,
    end: Rc<Notify>,
}

impl Sessions {
    pub(super) fn enter(self: &Rc<Self>, peer: SocketAddr) -> Session {
        let number = self.next.get();
        self.next.set(number + 1);
        let end = Rc::new(Notify::new());
        self.open.borrow_mut().insert(number, (peer, Rc::clone(&end)));
        Session {
            sessions: Rc::clone(self),
            number,
            end,
        }
    }

    /// Ends all but those from `kept`. What they would have sent is not sent any more.
    pub(crate) fn end_others(&self, kept: SocketAddr) {
        for (peer, end) in self.open.borrow().values() {
            if *peer != kept {
                end.notify_one();
            }
        }
    }
}

impl Session {
    /// Returns when the connection is to end.
    pub(super) async fn ended(&self) {
        self.end.notified().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.open.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn has_ended(session: &Session) -> bool {
        tokio::time::timeout(Duration::from_millis(10), session.ended())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn all_but_one_end_and_all_are_forgotten() {
        let sessions = Rc::new(Sessions::default());
        let peer = |port| SocketAddr::from(([169, 254, 0, 1], port));
        let (first, second, third) = (
            sessions.enter(peer(1)),
            sessions.enter(peer(2)),
            sessions.enter(peer(3)),
        );
        drop(third);
        sessions.end_others(peer(2));
        let fourth = sessions.enter(peer(4));
        assert!(has_ended(&first).await && !has_ended(&second).await && !has_ended(&fourth).await);
        drop((first, second, fourth));
        assert!(sessions.open.borrow().is_empty());
    }
}
