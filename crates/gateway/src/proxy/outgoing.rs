//! A request's body on its way to the instance: counted, bounded, and watched for standing still.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::{Body, BodyError, CallError};

/// The body of a request to an instance.
pub(crate) struct Outgoing {
    body: Body,
    watch: Option<Watch>,
}

struct Watch {
    progress: Arc<Progress>,
    max: u64,
    idle_after: Duration,
    idle: Option<Pin<Box<Sleep>>>,
}

/// How far a body has come; shared with who waits for the answer.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes: AtomicU64,
    whole: AtomicBool,
    fault: AtomicU8,
}

const TOO_LARGE: u8 = 1;
const STOOD_STILL: u8 = 2;
const BROKEN: u8 = 3;

/// Why the body ended early; the reason is in the progress.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body was cut off")
    }
}

impl std::error::Error for Cut {}

impl Progress {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether all of it was passed on.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Why it ended early, if it did.
    pub(crate) fn fault(&self, max: u64) -> Option<CallError> {
        match self.fault.load(Ordering::Acquire) {
            TOO_LARGE => Some(CallError::BodyTooLarge { max }),
            STOOD_STILL => Some(CallError::BodyTimeout),
            BROKEN => Some(CallError::ClientGone),
            _ => None,
        }
    }

    fn fail(&self, fault: u8) -> BodyError {
        self.fault.store(fault, Ordering::Release);
        Box::new(Cut)
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::empty()
    }
}

impl Outgoing {
    pub(crate) fn empty() -> Self {
        Self {
            body: Body::empty(),
            watch: None,
        }
    }

    /// A body of at most `max` bytes, of which some come at least every `idle_after`.
    pub(crate) fn new(body: Body, max: u64, idle_after: Duration) -> (Self, Option<Arc<Progress>>) {
        if body.is_end_stream() {
            return (Self::empty(), None);
        }
        let progress = Arc::new(Progress::default());
        let watch = Watch {
            progress: Arc::clone(&progress),
            max,
            idle_after,
            idle: None,
        };
        let outgoing = Self {
            body,
            watch: Some(watch),
        };
        (outgoing, Some(progress))
    }
}

impl Watch {
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (after, deadline) = (self.idle_after, Instant::now() + self.idle_after);
        let idle = self.idle.get_or_insert_with(|| Box::pin(sleep(after)));
        // Made anew after each frame, which moved it on.
        if idle.deadline() > deadline {
            idle.as_mut().reset(deadline);
        }
        idle.as_mut().poll(cx)
    }

    fn moved(&mut self, bytes: usize) -> Result<(), BodyError> {
        if let Some(idle) = &mut self.idle {
            idle.as_mut().reset(Instant::now() + self.idle_after);
        }
        let before = self.progress.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 > self.max {
            return Err(self.progress.fail(TOO_LARGE));
        }
        Ok(())
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let Some(watch) = &mut this.watch else { return polled };
        if polled.is_pending() {
            ready!(watch.poll_idle(cx));
            return Poll::Ready(Some(Err(watch.progress.fail(STOOD_STILL))));
        }
        let Poll::Ready(frame) = polled else {
            return Poll::Pending;
        };
        Poll::Ready(match frame {
            None => {
                watch.progress.whole.store(true, Ordering::Release);
                None
            }
            Some(Err(_)) => Some(Err(watch.progress.fail(BROKEN))),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                if this.body.is_end_stream() {
                    watch.progress.whole.store(true, Ordering::Release);
                }
                Some(watch.moved(bytes).map(|()| frame))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
