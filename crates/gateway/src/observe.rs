//! What is told of a call, once it has ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hearth_ids::MachineId;

use crate::{CallError, CallObserver, CallRecord, pool::Pool};

/// A call under way. Told when it is finished, and as given up by its caller when it is dropped before.
pub(crate) struct Recording(Option<Box<Inner>>);

struct Inner {
    observer: Arc<dyn CallObserver>,
    pool: Arc<Pool>,
    began: Instant,
    record: CallRecord,
}

impl Recording {
    pub(crate) fn new(observer: Arc<dyn CallObserver>, pool: Arc<Pool>, record: CallRecord) -> Self {
        Self(Some(Box::new(Inner {
            observer,
            pool,
            began: Instant::now(),
            record,
        })))
    }

    /// It reached this instance, after so long a wait.
    pub(crate) fn met(&mut self, machine: Option<MachineId>, queued: Duration, cold: bool) {
        if let Some(inner) = &mut self.0 {
            inner.record.machine = machine;
            inner.record.queued = queued;
            inner.record.cold = cold;
        }
    }

    /// The answer's head is there.
    pub(crate) fn status(&mut self, status: http::StatusCode) {
        if let Some(inner) = &mut self.0 {
            inner.record.status = status.as_u16();
        }
    }

    /// It has ended.
    pub(crate) fn finish(mut self, bytes_in: u64, bytes_out: u64, error: Option<CallError>) {
        self.tell(bytes_in, bytes_out, error);
    }

    /// It has failed, so.
    pub(crate) fn failed(self, bytes_in: u64, error: CallError) -> CallError {
        self.finish(bytes_in, 0, Some(error.clone()));
        error
    }

    fn tell(&mut self, bytes_in: u64, bytes_out: u64, error: Option<CallError>) {
        let Some(mut inner) = self.0.take() else { return };
        let record = &mut inner.record;
        record.duration = inner.began.elapsed();
        (record.bytes_in, record.bytes_out) = (bytes_in, bytes_out);
        if record.status == 0 {
            // 499, as others call it: nobody was there to be answered.
            let status = |error: &CallError| match error {
                CallError::ClientGone => 499,
                error => error.status().as_u16(),
            };
            record.status = error.as_ref().map_or(500, status);
        }
        record.error = error;
        let (status, took) = (record.status, record.duration);
        inner.pool.meters.ended(status, took, record.queued, record.cold);
        inner.observer.finished(inner.record);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.tell(0, 0, Some(CallError::ClientGone));
    }
}
