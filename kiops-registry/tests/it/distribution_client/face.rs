//! A server on loopback that answers as a test says: the crate connects by itself and takes no scripted service.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// `GET /v2/`, with its query.
    pub(super) line: String,
    /// Which host it was meant for.
    pub(super) host: String,
    /// The value of `Authorization`; empty without.
    pub(super) authorization: String,
}

/// What is answered: a status with its words, headers each with a line's end, a body.
pub(super) struct Answer(pub(super) String, pub(super) String, pub(super) Vec<u8>);

impl Answer {
    pub(super) fn status(status: &str) -> Self {
        Self(status.into(), String::new(), Vec::new())
    }

    /// A registry whose tokens come from the host that was asked, by `GET /token`.
    pub(super) fn wants_token(asked: &Asked) -> Self {
        let challenge = format!("Bearer realm=\"http://{}/token\"", asked.host);
        Self::status("401 Unauthorized").header("www-authenticate", &challenge)
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.1.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(super) fn body(mut self, body: &str) -> Self {
        self.2 = body.into();
        self
    }
}

/// A server that runs as long as the tests do.
#[derive(Clone)]
pub(super) struct Face {
    pub(super) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Face {
    pub(super) fn answering(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let face = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default() };
        let (asked, answer) = (Arc::clone(&face.asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &asked, &*answer));
            }
        });
        face
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request a connection.
fn serve(mut stream: TcpStream, asked: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    for line in (&mut reader).lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        head.push(line);
    }
    let Some(first) = head.first() else { return };
    let header = |wanted: &str| {
        let lines = head.iter().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned()).next()
    };
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let _ = reader.read_exact(&mut vec![0; length]);
    let line = first.trim_end_matches(" HTTP/1.1").to_owned();
    let (host, authorization) = (header("host"), header("authorization"));
    let one =
        Asked { line, host: host.unwrap_or_default(), authorization: authorization.unwrap_or_default() };
    asked.lock().unwrap().push(one.clone());
    let Answer(status, headers, body) = answer(&one);
    let length = match (status.as_str(), headers.contains("transfer-encoding")) {
        (_, true) => String::new(),
        _ => format!("content-length: {}\r\n", body.len()),
    };
    let head = format!("HTTP/1.1 {status}\r\n{headers}{length}connection: close\r\n\r\n");
    let body = if one.line.starts_with("HEAD ") { Vec::new() } else { body };
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
    if headers.contains("transfer-encoding") {
        while stream.write_all(b"400\r\n").is_ok()
            && stream.write_all(&[b' '; 0x400]).is_ok()
            && stream.write_all(b"\r\n").is_ok()
        {}
    }
}
