//! Sending a hook's delivery to the server on this machine.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kiops_core::secret::Secret;
use kiops_core::webhook::scheme;
use kiops_core::{Error, Result};

use super::Notice;

/// The path that deliveries of plain repositories go to.
pub const DELIVERY_PATH: &str = "/api/v1/webhook/plain";

/// How long a delivery is tried. The rest of the 2 s that a push may wait is for starting the hook's program.
const DEADLINE: Duration = Duration::from_millis(1200);
const PAUSE: Duration = Duration::from_millis(100);
const ANSWER_MAX: usize = 1024;

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// The server took it, and answered with this status (2xx).
    Accepted(u16),
    /// Nobody took it, and why. The push is found when the server lists the repository's heads.
    GaveUp(String),
}

/// Signs a notice by Standard Webhooks and posts it to [`DELIVERY_PATH`] on `127.0.0.1`, and nowhere else.
///
/// `port` is asked before each try, since a server that starts again listens elsewhere; `None`: there is none just now. Tries again,
/// with the same delivery id, when nobody answers or the server has a fault (5xx, 408, 429), and always returns within 1.3 s (plus what
/// `port` takes). Blocks its thread: a hook has nothing else to do. Fails with `Invalid` if the secret is no signing token.
pub fn deliver(
    notice: &Notice<'_>,
    secret: &Secret,
    mut port: impl FnMut() -> Option<u16>,
) -> Result<Delivered> {
    let until = Instant::now() + DEADLINE;
    let message = Message::new(notice, secret, Timestamp::now())?;
    let mut last = String::from("the server has no port");
    loop {
        if let Some(port) = port() {
            match message.post(port, until) {
                Ok(status @ 200..=299) => return Ok(Delivered::Accepted(status)),
                Ok(status @ (408 | 429 | 500..=599)) => last = format!("the server answered {status}"),
                Ok(status) => return Ok(Delivered::GaveUp(format!("the server answered {status}"))),
                Err(error) => last = format!("127.0.0.1:{port}: {error}"),
            }
        }
        match left(until) {
            Some(left) if left > PAUSE => std::thread::sleep(PAUSE),
            _ => return Ok(Delivered::GaveUp(last)),
        }
    }
}

struct Message {
    headers: String,
    body: Vec<u8>,
}

impl Message {
    fn new(notice: &Notice<'_>, secret: &Secret, now: Timestamp) -> Result<Self> {
        let body = notice.body()?;
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|error| {
            Error::unavailable("sign delivery", format!("the system has no random bytes: {error}"))
        })?;
        let mut id = String::from("msg_");
        for byte in random {
            let _ = write!(id, "{byte:02x}");
        }
        let signature = scheme::sign(secret, &id, now, &body)?;
        let headers = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{}: {id}\r\n{}: {}\r\n{}: {signature}\r\n\r\n",
            body.len(),
            scheme::ID_HEADER,
            scheme::TIMESTAMP_HEADER,
            now.as_second(),
            scheme::SIGNATURE_HEADER,
        );
        Ok(Self { headers, body })
    }

    /// Posts once and gives the status.
    fn post(&self, port: u16, until: Instant) -> std::io::Result<u16> {
        let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time");
        let mut stream = TcpStream::connect_timeout(
            &SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            left(until).ok_or_else(late)?,
        )?;
        let mut request =
            format!("POST {DELIVERY_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{}", self.headers)
                .into_bytes();
        request.extend_from_slice(&self.body);
        let mut rest = request.as_slice();
        while !rest.is_empty() {
            stream.set_write_timeout(Some(left(until).ok_or_else(late)?))?;
            match stream.write(rest) {
                Ok(n) if n > 0 => rest = rest.get(n..).unwrap_or_default(),
                // A server that refuses answers before it has read everything.
                _ => break,
            }
        }
        let mut answer = Vec::new();
        let mut chunk = [0; 256];
        while answer.len() < ANSWER_MAX {
            stream.set_read_timeout(Some(left(until).ok_or_else(late)?))?;
            let n = match stream.read(&mut chunk) {
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => return Err(late()),
                read => read?,
            };
            answer.extend_from_slice(chunk.get(..n).unwrap_or_default());
            if n == 0 || answer.contains(&b'\n') {
                break;
            }
        }
        status(&answer)
            .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is no HTTP"))
    }
}

fn left(until: Instant) -> Option<Duration> {
    until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// The status of an HTTP/1 answer, once its first line is whole.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next().filter(|line| line.len() < answer.len())?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    let code = rest.get(1..)?.strip_prefix(' ')?.get(..3)?;
    code.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_status_is_read_from_a_whole_line_only() {
        assert_eq!(status(b"HTTP/1.1 202 Accepted\r\nx: y\r\n"), Some(202));
        assert_eq!(status(b"HTTP/1.0 500\r\n"), Some(500));
        for bad in [
            "",
            "HTTP/1.1 202",
            "HTTP/2 200\r\n",
            "HTTP/1.1 20\r\n",
            "HTTP/1.1 999 x\r\n",
            "SSH-2.0-x\r\n",
            "\n",
        ] {
            assert_eq!(status(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_secret_that_cannot_sign_is_an_error_at_once() {
        let notice = Notice { repository: "/r".into(), pusher: "".into(), changes: vec![] };
        let secret = Secret::new("hunter2").unwrap();
        assert!(deliver(&notice, &secret, || None).is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_read(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "HTTP/1.{0,12}\n?") {
            let _ = status(&bytes);
            let _ = status(text.as_bytes());
        }
    }
}
