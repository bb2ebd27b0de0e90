//! Reading bodies that are kept whole, within bounds for each and for all together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_guest_api::runtime::MAX_PAYLOAD_BYTES;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::server::body::Incoming;

/// Room is counted in these.
const UNIT_BYTES: usize = 1024;
/// At least one payload of full size must fit, else none ever would.
const MIN_ROOM_BYTES: u64 = 8 * 1024 * 1024;
const MAX_ROOM_BYTES: u64 = 64 * 1024 * 1024;
/// Between two pieces of a body.
const SILENCE: Duration = Duration::from_mins(1);
/// For room to come free.
const ROOM_TIMEOUT: Duration = Duration::from_mins(1);
/// For a sender of too much to end, so that it sees the answer.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a body was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its length, where it was told.
    TooLarge(Option<usize>),
    NoRoom,
    Broken,
}

/// min(64 MiB, memory / 16), in units.
pub(super) fn room(memory_bytes: u64) -> usize {
    let bytes = (memory_bytes / 16).clamp(MIN_ROOM_BYTES, MAX_ROOM_BYTES);
    usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT_BYTES
}

/// A payload in memory; gives its room back when the last reference to it goes.
struct Kept {
    bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Units for so many bytes. Payloads are far below 4 TiB.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// What the sender says that the body is long.
fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A call's event. Refused at once when there is no room, since its caller can come back.
pub(super) async fn event(headers: &HeaderMap, body: &mut Incoming, room: &Arc<Semaphore>) -> Result<Bytes, Unfit> {
    let length = announced(headers);
    check(length)?;
    let held = match length.map(units) {
        Some(units) => Some(
            Arc::clone(room)
                .try_acquire_many_owned(units)
                .map_err(|_| Unfit::NoRoom)?,
        ),
        None => None,
    };
    collect(body, held, room).await
}

/// A workload's answer. Waits for room, and so holds the workload back while callers are slow.
pub(super) async fn answer(headers: &HeaderMap, body: &mut Incoming, room: &Arc<Semaphore>) -> Result<Bytes, Unfit> {
    let length = announced(headers);
    check(length)?;
    let wanted = Arc::clone(room).acquire_many_owned(units(length.unwrap_or(MAX_PAYLOAD_BYTES)));
    let held = tokio::time::timeout(ROOM_TIMEOUT, wanted)
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or(Unfit::NoRoom)?;
    collect(body, Some(held), room).await
}

fn check(length: Option<usize>) -> Result<(), Unfit> {
    match length {
        Some(length) if length > MAX_PAYLOAD_BYTES => Err(Unfit::TooLarge(Some(length))),
        _ => Ok(()),
    }
}

async fn collect(
    body: &mut Incoming,
    mut held: Option<OwnedSemaphorePermit>,
    room: &Arc<Semaphore>,
) -> Result<Bytes, Unfit> {
    let mut bytes = Vec::new();
    while let Some(data) = next_data(body).await? {
        let length = bytes.len() + data.len();
        if length > MAX_PAYLOAD_BYTES {
            return Err(Unfit::TooLarge(None));
        }
        grow(&mut held, units(length), room)?;
        bytes.extend_from_slice(&data);
    }
    let spare = held
        .as_ref()
        .map_or(0, OwnedSemaphorePermit::num_permits)
        .saturating_sub(bytes.len().div_ceil(UNIT_BYTES));
    drop(held.as_mut().and_then(|held| held.split(spare)));
    bytes.shrink_to_fit();
    Ok(Bytes::from_owner(Kept { bytes, _room: held }))
}

/// Takes more room if less than `wanted` is held.
fn grow(held: &mut Option<OwnedSemaphorePermit>, wanted: u32, room: &Arc<Semaphore>) -> Result<(), Unfit> {
    let have = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let more = wanted.saturating_sub(u32::try_from(have).unwrap_or(u32::MAX));
    if more == 0 {
        return Ok(());
    }
    let more = Arc::clone(room)
        .try_acquire_many_owned(more)
        .map_err(|_| Unfit::NoRoom)?;
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
    Ok(())
}

async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, Unfit> {
    loop {
        match tokio::time::timeout(SILENCE, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(Some(Err(_))) | Err(_) => return Err(Unfit::Broken),
        }
    }
}

/// Reads what is left of a body that nobody wants: a sender that is still sending would not see its answer.
pub(super) async fn discard(body: &mut Incoming) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_follows_the_memory() {
        assert_eq!(room(0), 8 * 1024);
        assert_eq!(room(512 << 20), 32 * 1024);
        assert_eq!(room(u64::MAX), 64 * 1024);
    }

    #[tokio::test]
    async fn room_is_taken_by_need_and_given_back() {
        let room = Arc::new(Semaphore::new(10));
        let mut held = None;
        grow(&mut held, 4, &room).unwrap();
        grow(&mut held, 3, &room).unwrap();
        grow(&mut held, 10, &room).unwrap();
        assert_eq!(room.available_permits(), 0);
        assert_eq!(grow(&mut held, 11, &room), Err(Unfit::NoRoom));
        drop(Bytes::from_owner(Kept {
            bytes: vec![1],
            _room: held,
        }));
        assert_eq!(room.available_permits(), 10);
    }
}
