//! What becomes of connections.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::rig::{Agent, chunk, frame, shell, stream_head, wait_until};

/// Clients that stream send a request's end apart from its message. What is left unread would end the connection, by a reset that takes
/// the end of the answer away.
#[test]
fn a_stream_leaves_its_connection_whole() {
    let agent = Agent::start();
    let mut connection = agent.connect();
    for _ in 0..3 {
        connection.write(stream_head("process.Process/Start")).unwrap();
        connection.write(chunk(&frame(&shell("seq 1 20000")))).unwrap();
        // Time for an agent that would not wait for the end to go wrong; one that waits does not care.
        std::thread::sleep(Duration::from_millis(100));
        connection.write("0\r\n\r\n").unwrap();
        let answer = connection.answer();
        let frames = answer.frames();
        assert_eq!(
            (answer.status, frames.last().unwrap().to_string().as_str()),
            (200, "{}")
        );
    }
}

#[test]
fn a_stream_wants_one_message() {
    let agent = Agent::start();
    let two = [frame(&shell("true")), frame(&shell("true"))].concat();
    let headers = "Content-Type: application/connect+json\r\n";
    let frames = agent.request("POST /process.Process/Start", headers, &two).frames();
    assert_eq!(frames[0]["error"]["code"], "invalid_argument");
}

#[test]
fn an_upload_that_is_refused_says_why() {
    let agent = Agent::start();
    let mut connection = agent.connect();
    let body = vec![0; 16 << 20];
    let head = format!(
        "POST /files?path=/nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write(head).unwrap();
    connection.write(body).unwrap();
    let answer = connection.answer();
    assert_eq!((answer.status, &answer.json()["code"]), (401, &401.into()));
    // Its connection serves the next request: a proxy may have that of somebody else.
    assert!(!answer.is_last);
    connection.write("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(connection.answer().status, 204);
}

#[test]
fn input_that_is_refused_at_its_first_message_leaves_its_connection_whole() {
    let agent = Agent::start();
    let mut connection = agent.connect();
    for _ in 0..3 {
        connection.write(stream_head("process.Process/StreamInput")).unwrap();
        let nobody = json!({"start": {"process": {"pid": 999_999_999}}});
        connection.write(chunk(&frame(&nobody))).unwrap();
        // The answer is there before the request's end.
        let frames = connection.answer().frames();
        assert_eq!(frames[0]["error"]["code"], "not_found", "{frames:?}");
        connection.write(chunk(&frame(&json!({"keepalive": {}})))).unwrap();
        connection.write("0\r\n\r\n").unwrap();
    }
}

/// A connection from inside the guest, where the host is the only other end of trust.
#[expect(clippy::unwrap_used, reason = "a test's helper")]
fn stranger(agent: &Agent) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    connect(&socket, &agent.address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    stream
}

#[test]
fn a_program_that_floods_the_agent_does_not_keep_the_host_out() {
    let agent = Agent::start();
    let mut silent: Vec<_> = (0..2000).map(|_| stranger(&agent)).collect();
    let began = Instant::now();
    let answer = agent.rpc("process.Process/List", &json!({}));
    assert_eq!(answer.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // A few of them are heard, the others are closed.
    let is_closed = |stream: &mut TcpStream| matches!(stream.read(&mut [0]), Ok(0));
    assert!(is_closed(silent.last_mut().unwrap()) && !is_closed(&mut silent[0]));
    drop(silent);
    wait_until("a place for a program", || {
        let mut stream = stranger(&agent);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let asked = stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains("204")
    });
}
