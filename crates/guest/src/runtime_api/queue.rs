//! Calls that wait for the workload to fetch them, and calls that it has fetched; and how each comes to its end.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hearth_guest_api::guest::Stream;
use hearth_guest_api::runtime::MAX_WAITING_CALLS;
use http::{HeaderMap, HeaderValue};
use tokio::sync::{Notify, oneshot};

use super::RuntimeApi;
use super::failure::Failure;
use super::invocation::Invocation;
use super::report::{self, Usage};
use crate::server::body::Body;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A call and who waits for it.
pub(super) struct Call {
    pub(super) invocation: Invocation,
    pub(super) event: Bytes,
    pub(super) caller: oneshot::Sender<Answer>,
}

impl Call {
    pub(super) fn answer_failure(self, failure: &Failure) {
        let body = failure.body(Some(&self.invocation.id));
        // A caller that is gone needs no answer, here and below.
        let _ = self.caller.send(Answer::Whole {
            outcome: Outcome::failed(body),
            log_result: None,
        });
    }
}

/// What became of a call.
pub(super) struct Outcome {
    pub(super) is_error: bool,
    pub(super) content_type: HeaderValue,
    pub(super) body: Bytes,
}

impl Outcome {
    pub(super) fn failed(body: Bytes) -> Self {
        Self {
            is_error: true,
            content_type: JSON,
            body,
        }
    }
}

/// What a caller gets.
pub(super) enum Answer {
    Whole {
        outcome: Outcome,
        /// Base64 of the log's tail, where it was asked for.
        log_result: Option<String>,
    },
    Streamed {
        content_type: HeaderValue,
        body: Body,
    },
}

/// Why a call was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Duplicate,
}

/// A call that the workload has fetched.
pub(super) struct Running {
    wants_tail: bool,
    pub(super) accepts_trailers: bool,
    /// Absent once a stream was begun.
    pub(super) caller: Option<oneshot::Sender<Answer>>,
    /// An answer is being read: there can be no second one.
    is_posted: bool,
    started: Instant,
    written_before: u64,
}

/// All calls under way.
#[derive(Default)]
pub(super) struct Queue {
    waiting: RefCell<VecDeque<Call>>,
    running: RefCell<HashMap<String, Running>>,
    news: Notify,
    /// Why nothing is handed over any more.
    closed: RefCell<Option<Rc<Failure>>>,
}

impl Queue {
    pub(super) fn push(&self, call: Call) -> Result<(), Refused> {
        let mut waiting = self.waiting.borrow_mut();
        // Those whose callers are gone take nobody's place.
        waiting.retain(|call| !call.caller.is_closed());
        let id = &call.invocation.id;
        if self.running.borrow().contains_key(id) || waiting.iter().any(|other| other.invocation.id == *id) {
            return Err(Refused::Duplicate);
        }
        if waiting.len() >= MAX_WAITING_CALLS {
            return Err(Refused::Full);
        }
        waiting.push_back(call);
        self.news.notify_one();
        Ok(())
    }

    /// The next call whose caller still waits; waited for.
    async fn pop(&self) -> Call {
        loop {
            let news = self.news.notified();
            while let Some(call) = self.waiting.borrow_mut().pop_front() {
                if !call.caller.is_closed() {
                    return call;
                }
            }
            news.await;
        }
    }

    /// Answers all that wait, now and later, with the failure.
    pub(super) fn close(&self, failure: &Rc<Failure>) {
        self.closed.borrow_mut().get_or_insert_with(|| Rc::clone(failure));
        for call in self.waiting.take() {
            call.answer_failure(failure);
        }
    }

    /// Back to the front, unless nobody will fetch it there.
    fn put_back(&self, call: Call) {
        if let Some(failure) = &*self.closed.borrow() {
            return call.answer_failure(failure);
        }
        self.waiting.borrow_mut().push_front(call);
        self.news.notify_one();
    }

    pub(super) fn running_ids(&self) -> Vec<String> {
        self.running.borrow().keys().cloned().collect()
    }

    /// Claims a running call for the one answer that it may get; false for one that is not running or was answered.
    pub(super) fn claim(&self, id: &str) -> bool {
        self.with_running(id, |running| !std::mem::replace(&mut running.is_posted, true))
            .unwrap_or(false)
    }

    pub(super) fn with_running<T>(&self, id: &str, use_it: impl FnOnce(&mut Running) -> T) -> Option<T> {
        self.running.borrow_mut().get_mut(id).map(use_it)
    }
}

/// A call on its way to the workload; goes back to the front of the queue if the workload's request is dropped meanwhile.
struct Handover<'a> {
    queue: &'a Queue,
    call: Option<Call>,
}

impl Drop for Handover<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.queue.put_back(call);
        }
    }
}

impl RuntimeApi {
    /// The next call, for the workload: its headers and its event.
    pub(super) async fn next_call(&self) -> (HeaderMap, Bytes) {
        loop {
            let mut handover = Handover {
                queue: &self.queue,
                call: Some(self.queue.pop().await),
            };
            let Some((written_before, line)) = handover.call.as_ref().map(|call| {
                let line = report::start_line(&call.invocation.id, &call.invocation.version);
                (self.tail.borrow().written(), line)
            }) else {
                continue;
            };
            self.log.push_chunk(Stream::Stdout, line.clone().into()).await;
            if self.queue.closed.borrow().is_some() {
                continue;
            }
            if let Some(call) = handover.call.take() {
                self.wrote(line.as_bytes());
                return self.run(call, written_before);
            }
        }
    }

    fn run(&self, call: Call, written_before: u64) -> (HeaderMap, Bytes) {
        let invocation = call.invocation;
        let running = Running {
            wants_tail: invocation.wants_tail,
            accepts_trailers: invocation.accepts_trailers,
            caller: Some(call.caller),
            is_posted: false,
            started: Instant::now(),
            written_before,
        };
        self.queue.running.borrow_mut().insert(invocation.id, running);
        (invocation.headers, call.event)
    }

    /// Ends a call: the answer, unless it was streamed, and the lines in the log. Gives the log's tail if it was asked for. A call
    /// that has ended already is left alone.
    pub(super) async fn finish(&self, id: &str, outcome: impl Into<Option<Outcome>>) -> Option<String> {
        let (lines, log_result) = self.conclude(id, outcome.into()).await?;
        self.log.push_chunk(Stream::Stdout, lines.into()).await;
        log_result
    }

    /// Ends all calls that the workload has fetched.
    pub(super) async fn finish_all(&self, failure: &Failure) {
        let mut all_lines = String::new();
        for id in self.queue.running_ids() {
            let outcome = Outcome::failed(failure.body(Some(&id)));
            if let Some((lines, _)) = self.conclude(&id, Some(outcome)).await {
                all_lines.push_str(&lines);
            }
        }
        if !all_lines.is_empty() {
            self.log.push_chunk(Stream::Stdout, all_lines.into()).await;
        }
    }

    /// Answers. Gives the lines for the log and, where it was asked for, its tail.
    async fn conclude(&self, id: &str, outcome: Option<Outcome>) -> Option<(String, Option<String>)> {
        let running = self.queue.running.borrow_mut().remove(id)?;
        let duration = running.started.elapsed();
        if running.wants_tail {
            self.settle().await;
        }
        let lines = report::end_lines(id, &self.usage(duration));
        let mut log_result = None;
        if running.wants_tail {
            self.wrote(lines.as_bytes());
            log_result = Some(STANDARD.encode(self.tail.borrow().since(running.written_before)));
        }
        if let (Some(caller), Some(outcome)) = (running.caller, outcome) {
            let log_result = log_result.clone();
            let _ = caller.send(Answer::Whole { outcome, log_result });
        }
        if !running.wants_tail {
            // What the workload wrote before it answered comes first.
            self.settle().await;
            self.wrote(lines.as_bytes());
        }
        Some((lines, log_result))
    }

    fn usage(&self, duration: std::time::Duration) -> Usage {
        let (total, used) = crate::metrics::memory_bytes();
        let most = used.max(self.max_memory_used.get());
        self.max_memory_used.set(most);
        Usage {
            duration,
            init: self.init_time.take(),
            memory_total_bytes: total,
            memory_used_bytes: most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> (Call, oneshot::Receiver<Answer>) {
        let mut headers = HeaderMap::new();
        headers.insert("x-hearth-request-id", id.parse().unwrap());
        let (caller, answer) = oneshot::channel();
        let invocation = Invocation::parse(&headers, 0).unwrap();
        let event = Bytes::new();
        (
            Call {
                invocation,
                event,
                caller,
            },
            answer,
        )
    }

    #[tokio::test]
    async fn in_order_and_without_those_whose_callers_are_gone() {
        let queue = Queue::default();
        let mut answers = Vec::new();
        for id in ["a", "b", "c"] {
            let (call, answer) = call(id);
            queue.push(call).unwrap();
            answers.push(answer);
        }
        assert_eq!(queue.push(call("b").0), Err(Refused::Duplicate));
        drop(answers.remove(1));
        assert_eq!(queue.pop().await.invocation.id, "a");
        assert_eq!(queue.pop().await.invocation.id, "c");
    }

    #[tokio::test]
    async fn bounded() {
        let queue = Queue::default();
        let mut answers = Vec::new();
        for number in 0..MAX_WAITING_CALLS {
            let (call, answer) = call(&number.to_string());
            queue.push(call).unwrap();
            answers.push(answer);
        }
        let (extra, _answer) = call("extra");
        assert_eq!(queue.push(extra), Err(Refused::Full));
        answers.clear();
        let (extra, _answer) = call("extra");
        assert_eq!(queue.push(extra), Ok(()));
    }

    #[tokio::test]
    async fn a_handover_that_fails_puts_the_call_back_in_front() {
        let queue = Queue::default();
        let answers: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|id| {
                let (call, answer) = call(id);
                queue.push(call).unwrap();
                answer
            })
            .collect();
        drop(Handover {
            queue: &queue,
            call: Some(queue.pop().await),
        });
        assert_eq!(queue.pop().await.invocation.id, "a");
        drop(answers);
    }

    #[tokio::test]
    async fn nobody_is_left_waiting_at_a_closed_queue() {
        let queue = Queue::default();
        let (first, first_answer) = call("a");
        let (second, second_answer) = call("b");
        queue.push(first).unwrap();
        queue.push(second).unwrap();
        let handover = Handover {
            queue: &queue,
            call: Some(queue.pop().await),
        };
        queue.close(&Rc::new(Failure::Posted(Bytes::from_static(b"{}"))));
        drop(handover);
        for answer in [first_answer, second_answer] {
            assert!(matches!(answer.await, Ok(Answer::Whole { outcome, .. }) if outcome.is_error));
        }
    }

    #[tokio::test]
    async fn a_call_is_answered_once() {
        let api = RuntimeApi::new(crate::log::Log::new(1 << 20));
        let (call, answer) = call("a");
        api.queue.push(call).unwrap();
        assert!(!api.queue.claim("a"));
        api.next_call().await;
        assert!(api.queue.claim("a"));
        assert!(!api.queue.claim("a"));
        api.finish("a", Outcome::failed(Bytes::from_static(b"first"))).await;
        api.finish("a", Outcome::failed(Bytes::from_static(b"second"))).await;
        match answer.await.unwrap() {
            Answer::Whole { outcome, .. } => assert_eq!(outcome.body, "first"),
            Answer::Streamed { .. } => panic!("streamed"),
        }
    }
}
