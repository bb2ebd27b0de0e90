//! Commands in a machine, followed line by line.

use std::time::Duration;

use futures::StreamExt as _;
use hearth_ids::MachineId;
use hearth_node_api::{ErrorKind, ExecEvent, ExecRequest, ExecSession, NodeError};
use tokio::time::timeout;

use crate::app::App;

/// The longest line that is passed on whole, in bytes.
const LINE_MAX: usize = 16 * 1024;

/// Runs a command, gives each line that it writes to `line`, and returns its exit code.
pub(super) async fn run(
    app: &App,
    machine: MachineId,
    request: ExecRequest,
    limit: Duration,
    mut line: impl FnMut(bool, &str),
) -> Result<i32, NodeError> {
    let ExecSession { output, input } = app.node.exec(machine, request).await?;
    // Nothing is written to it.
    drop(input);
    let mut events = output;
    let mut partial = [Vec::new(), Vec::new()];
    let running = async {
        while let Some(event) = events.next().await {
            match event? {
                ExecEvent::Stdout(bytes) => lines(&mut partial[0], &bytes, |text| line(false, text)),
                ExecEvent::Stderr(bytes) => lines(&mut partial[1], &bytes, |text| line(true, text)),
                ExecEvent::Exited(status) => {
                    for (at, rest) in partial.iter_mut().enumerate() {
                        if !rest.is_empty() {
                            line(at == 1, &String::from_utf8_lossy(rest));
                        }
                    }
                    return Ok(status.code);
                }
            }
        }
        Err(NodeError::new(
            ErrorKind::Unavailable,
            "the command's machine has ended",
        ))
    };
    let late = |_| {
        NodeError::new(
            ErrorKind::Timeout,
            format!("the command took longer than {} s", limit.as_secs()),
        )
    };
    timeout(limit, running).await.map_err(late)?
}

fn lines(partial: &mut Vec<u8>, bytes: &[u8], mut line: impl FnMut(&str)) {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        partial.extend_from_slice(piece);
        if piece.ends_with(b"\n") || partial.len() >= LINE_MAX {
            line(String::from_utf8_lossy(partial).trim_end());
            partial.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_long_ones_in_pieces() {
        let (mut partial, mut seen) = (Vec::new(), Vec::new());
        for bytes in [&b"a"[..], b"b\nc\n", b"d"] {
            lines(&mut partial, bytes, |text| seen.push(text.to_owned()));
        }
        assert_eq!(
            (seen.as_slice(), partial.as_slice()),
            (&["ab".to_owned(), "c".to_owned()][..], &b"d"[..])
        );
        lines(&mut partial, &vec![b'x'; LINE_MAX], |text| seen.push(text.to_owned()));
        assert_eq!((seen.len(), partial.len()), (3, 0));
    }
}
