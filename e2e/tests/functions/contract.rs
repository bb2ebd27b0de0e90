//! Programs that listen themselves, and AWS's own runtime client.

use std::io::{BufRead as _, Read as _, Write as _};

use hearth_e2e::{
    HostOptions,
    http::{begin, send},
    ric_archive, skip,
};

use crate::shop::{PROMPT, answer, get, host, nothing_left, server};

/// Speaks plain HTTP, server-sent events and a WebSocket that gives back what it gets.
const SERVER: &str = r#"
import base64, hashlib, os, socketserver, time
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        method, path, _ = self.rfile.readline().decode().split()
        headers = {}
        while True:
            line = self.rfile.readline().decode().strip()
            if not line: break
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        if path == "/events":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            for n in range(3):
                self.wfile.write(b"data: %d\n\n" % n)
                time.sleep(0.3)
            return
        if path == "/socket":
            key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: " + accept + b"\r\n\r\n")
            while True:
                head = self.rfile.read(2)
                if len(head) < 2 or head[0] & 15 == 8: return
                length = head[1] & 127
                mask, data = self.rfile.read(4), self.rfile.read(length)
                data = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
                self.wfile.write(bytes([129, length]) + data)
        body = self.rfile.read(int(headers.get("content-length", 0)))
        answer = ("%s %s %d %s" % (method, path, len(body), hashlib.sha256(body).hexdigest())).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64
Server(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

#[test]
fn a_program_that_listens_is_called_in_every_way() {
    let host = host(&HostOptions::default());
    let url = server(&host, "web", SERVER, &["--public", "--port", "9000"]);
    let plain = get(&url.join("a%20b?c=d"));
    assert_eq!(plain.status, 200, "{plain:?}");
    assert!(plain.body.starts_with("GET /a%20b?c=d 0 "), "{plain:?}");
    let body = vec![7; 3_000_000];
    let posted = send(&url, "POST", &[], &body, PROMPT).unwrap();
    let sum = hearth_testkit::images::sha256_hex(&body);
    assert_eq!(posted.body, format!("POST / {} {sum}", body.len()));

    // Each event comes when it is told, not with the last.
    let mut events = begin(&url.join("events"), "GET", &[], b"", PROMPT).unwrap();
    assert_eq!(events.status, 200);
    let mut told = Vec::new();
    let mut line = String::new();
    let began = std::time::Instant::now();
    while told.len() < 3 {
        line.clear();
        assert_ne!(events.stream.read_line(&mut line).unwrap(), 0, "{told:?}");
        if let Some(data) = line.trim().strip_prefix("data: ") {
            told.push((data.to_owned(), began.elapsed()));
        }
    }
    let numbers: Vec<_> = told.iter().map(|(data, _)| data.as_str()).collect();
    assert_eq!(numbers, ["0", "1", "2"]);
    assert!(
        told[2].1 > told[0].1 + std::time::Duration::from_millis(300),
        "all at once: {told:?}"
    );

    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut socket = begin(&url.join("socket"), "GET", &upgrade, b"", PROMPT).unwrap();
    assert_eq!(socket.status, 101, "{socket:?}");
    let accept = socket.headers.iter().find(|(name, _)| name == "sec-websocket-accept");
    assert_eq!(accept.unwrap().1, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    for word in [b"hello", b"again"] {
        // A text frame under a mask of noughts.
        socket.stream.get_mut().write_all(&[0x81, 0x85, 0, 0, 0, 0]).unwrap();
        socket.stream.get_mut().write_all(word).unwrap();
        let mut frame = [0; 7];
        socket.stream.read_exact(&mut frame).unwrap();
        assert_eq!((&frame[..2], &frame[2..]), (&[0x81, 5][..], &word[..]));
    }
    drop(socket);

    // Without a key, once it is private.
    host.hearth(&["fn", "config", "web", "--private"]).ok();
    assert_eq!(get(&url).status, 401);
    nothing_left(&host, &["web"]);
}

const HANDLER: &str = "
import json
def handler(event, context):
    print('by awslambdaric')
    return {'given': event, 'left': context.get_remaining_time_in_millis() > 0, 'name': context.function_name}
";

#[test]
fn an_image_with_awss_runtime_client_is_called() {
    let host = host(&HostOptions::default());
    let image = match ric_archive(host.folder(), HANDLER) {
        Ok(image) => image,
        Err(missing) => return skip(&format!("awslambdaric: {missing}")),
    };
    host.hearth(&["image", "import", image.to_str().unwrap(), "--name", "test/ric"])
        .ok();
    host.hearth(&["fn", "deploy", "ric", "--image", "test/ric", "--contract", "lambda"])
        .ok();
    let given = answer(&host, "ric", r#"{"a":[1,2]}"#);
    assert_eq!(
        given,
        serde_json::json!({"given": {"a": [1, 2]}, "left": true, "name": "ric"})
    );
    assert!(host.hearth(&["fn", "logs", "ric"]).ok().contains("by awslambdaric"));
    nothing_left(&host, &["ric"]);
}
