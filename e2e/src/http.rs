//! A plain HTTP client for tests: one request on a connection of its own.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// A URL of the gateway, taken apart.
#[derive(Debug, Clone)]
pub struct Url {
    /// Host and port.
    pub authority: String,
    /// The path, with its first slash.
    pub path: String,
}

impl Url {
    /// Takes `http://HOST:PORT/PATH` apart.
    pub fn of(text: &str) -> Self {
        let rest = text.strip_prefix("http://").expect("functions' URLs are of http");
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Self {
            authority: authority.to_owned(),
            path: format!("/{path}"),
        }
    }

    /// The same with something after its path.
    #[must_use]
    pub fn join(&self, more: &str) -> Self {
        Self {
            authority: self.authority.clone(),
            path: format!("{}{more}", self.path),
        }
    }
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, with small letters.
    pub headers: Vec<(String, String)>,
    /// Its body as text.
    pub body: String,
}

impl Answer {
    /// A header's value; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Coming {
    /// Its status.
    pub status: u16,
    /// Its headers, with small letters.
    pub headers: Vec<(String, String)>,
    /// The connection, after the head.
    pub stream: BufReader<TcpStream>,
}

/// Sends a request and waits for the head of its answer. Nothing takes longer than `patience` between two bytes.
pub fn begin(url: &Url, method: &str, headers: &[(&str, &str)], body: &[u8], patience: Duration) -> io::Result<Coming> {
    let mut stream = TcpStream::connect(&url.authority)?;
    stream.set_read_timeout(Some(patience))?;
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", url.path, url.authority);
    for (name, value) in headers {
        head.extend([*name, ": ", *value, "\r\n"]);
    }
    if !body.is_empty() || method == "POST" {
        head.push_str("Content-Length: ");
        head.push_str(&body.len().to_string());
        head.push_str("\r\n");
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection")) {
        head.push_str("Connection: close\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut stream = BufReader::new(stream);
    let first = line(&mut stream)?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status in {first:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = line(&mut stream)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Coming {
        status,
        headers,
        stream,
    })
}

/// Sends a request and waits for its whole answer.
pub fn send(url: &Url, method: &str, headers: &[(&str, &str)], body: &[u8], patience: Duration) -> io::Result<Answer> {
    let mut coming = begin(url, method, headers, body, patience)?;
    let mut answer = Answer {
        status: coming.status,
        headers: std::mem::take(&mut coming.headers),
        body: String::new(),
    };
    let mut body = Vec::new();
    if answer.header("transfer-encoding") == "chunked" {
        loop {
            let size = line(&mut coming.stream)?;
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            coming.stream.read_exact(&mut chunk)?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else if let Ok(length) = answer.header("content-length").parse() {
        body.resize(length, 0);
        coming.stream.read_exact(&mut body)?;
    } else {
        coming.stream.read_to_end(&mut body)?;
    }
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Ok(answer)
}

/// A line without its end. One that is not ended was cut off.
fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
