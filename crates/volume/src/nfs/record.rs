//! Records on a connection (RFC 5531, section 11): fragments with their lengths before them, the last of which is marked.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use super::TRANSFER_MAX;

/// The longest call: a WRITE, and room for its head.
const CALL_MAX: usize = TRANSFER_MAX as usize + 4096;
/// How long a call that has begun may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(30);
const LAST: u32 = 1 << 31;
/// Fragments of one call. Kernels send one.
const FRAGMENTS_MAX: usize = 64;

/// Reads one call; none where the guest has hung up in between.
pub(super) async fn read(connection: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 4];
    // A guest has all the time in the world to ask.
    if connection.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    timeout(PATIENCE, read_begun(connection, head)).await?.map(Some)
}

async fn read_begun(connection: &mut (impl AsyncRead + Unpin), mut head: [u8; 4]) -> io::Result<Vec<u8>> {
    connection.read_exact(&mut head[1..]).await?;
    let mut call = Vec::new();
    for _ in 0..FRAGMENTS_MAX {
        let word = u32::from_be_bytes(head);
        let length = (word & !LAST) as usize;
        if call.len() + length > CALL_MAX {
            return Err(too_long());
        }
        // Room grows with what arrives, not with what is announced.
        let read = (&mut *connection).take(length as u64).read_to_end(&mut call).await?;
        if read < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if word & LAST != 0 {
            return Ok(call);
        }
        connection.read_exact(&mut head).await?;
    }
    Err(too_long())
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a call is longer than any may be")
}

/// Writes one answer.
pub(super) async fn write(connection: &mut (impl AsyncWrite + Unpin), answer: &[u8]) -> io::Result<()> {
    let length = u32::try_from(answer.len()).map_err(io::Error::other)?;
    let mut record = Vec::with_capacity(answer.len() + 4);
    record.extend((LAST | length).to_be_bytes());
    record.extend(answer);
    timeout(PATIENCE, connection.write_all(&record)).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fragments_are_put_together_and_lengths_bounded() {
        let mut bytes: &[u8] = &[0, 0, 0, 2, 1, 2, 0x80, 0, 0, 1, 3];
        assert_eq!(read(&mut bytes).await.unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(read(&mut bytes).await.unwrap(), None);
        let mut announced: &[u8] = &[0xff, 0xff, 0xff, 0xff, 1];
        assert!(read(&mut announced).await.is_err());
        let mut endless: &[u8] = &[0; 4096];
        assert!(read(&mut endless).await.is_err());
        let mut cut: &[u8] = &[0x80, 0, 0, 9, 1];
        assert!(read(&mut cut).await.is_err());
    }
}
