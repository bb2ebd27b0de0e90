//! The door behind which a guest finds DNS, whatever server it asks.

use std::{io, sync::Arc, time::Duration};

use hickory_proto::op::ResponseCode;
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    question::{Question, Verdict},
    upstream::{read_message, write_message},
};
use crate::gate::{RETRY, Shared};

/// How long a guest may take with a question by TCP.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Questions of one connection.
const QUESTIONS_MAX: usize = 100;
/// Longer than a question has to be.
const QUESTION_BYTES_MAX: usize = 4096;

/// Answers questions by UDP, until the gate is shut.
pub(crate) async fn serve_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; QUESTION_BYTES_MAX];
    loop {
        let (length, guest) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a guest's question was not received");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        // One that has to wait is asked again by whoever asked it.
        let Some(permit) = shared.question_permit() else {
            continue;
        };
        let (bytes, socket, asking) = (buffer[..length].to_vec(), Arc::clone(&socket), Arc::clone(&shared));
        shared.spawn(async move {
            if let Some(answer) = answer(&bytes, true, &asking).await
                && let Err(error) = socket.send_to(&answer, guest).await
            {
                tracing::debug!(%error, "a guest did not get its answer of DNS");
            }
            drop(permit);
        });
    }
}

/// Answers the questions of one connection.
pub(crate) async fn serve_tcp(mut guest: TcpStream, shared: &Shared) -> io::Result<()> {
    for _ in 0..QUESTIONS_MAX {
        let Ok(read) = timeout(QUESTION_TIMEOUT, read_message(&mut guest)).await else {
            return Ok(());
        };
        let Some(answer) = answer(&read?, false, shared).await else {
            return Ok(());
        };
        match timeout(QUESTION_TIMEOUT, write_message(&mut guest, &answer)).await {
            Ok(written) => written?,
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

async fn answer(bytes: &[u8], by_udp: bool, shared: &Shared) -> Option<Vec<u8>> {
    let question = match Question::read(bytes)? {
        Ok(question) => question,
        Err(refusal) => return Some(refusal),
    };
    let permitted = question.name().is_some_and(|name| shared.permits_name(&name));
    if let Verdict::Answer(code) = question.judge(permitted) {
        return question.answer(code);
    }
    let asked = question.to_ask(rand::random())?;
    match shared.upstream().ask(&asked).await {
        Ok(answer) => question.pass(answer, by_udp),
        Err(error) => {
            tracing::debug!(%error, "no name server answers for a guest");
            question.answer(ResponseCode::ServFail)
        }
    }
}
