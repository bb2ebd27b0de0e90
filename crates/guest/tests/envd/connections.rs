//! What becomes of connections.

use std::time::Duration;

use crate::rig::{Agent, chunk, frame, shell, stream_head};

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
}
