//! Uploads to a real registry over connections that are cut, by a proxy that sees every byte.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kiops_core::ErrorKind;
use kiops_core::error::Retry;
use kiops_core::http::{ReqwestConfig, ReqwestService, SystemTimer};
use kiops_core::image::Registry as _;
use kiops_core::name::Digest;
use kiops_core::stream;
use kiops_registry::oci::{Oci, OciConfig};

use super::daemon::{Auth, Daemon};
use crate::fixtures::image;

pub(crate) const PIECE: usize = 64 << 10;

/// A request with content that went to the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    /// `PATCH 65536-131071`.
    pub(crate) what: String,
    /// How many bytes of its content were let through.
    pub(crate) bytes: usize,
    /// The status of the answer, unless the connection was cut before.
    pub(crate) status: Option<u16>,
    /// How many bytes the registry then said that it has.
    pub(crate) there: Option<usize>,
}

/// A proxy before a registry: one request a connection. It cuts the one with the second piece after so many bytes of it.
pub(crate) struct Proxy {
    port: u16,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Proxy {
    pub(crate) fn before(daemon: &Daemon, cut_after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let (behind, seen) = (daemon.port, Arc::clone(&sent));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, seen) = (client.unwrap(), Arc::clone(&seen));
                std::thread::spawn(move || pass(client, behind, cut_after, &seen));
            }
        });
        Self { port, sent }
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    pub(crate) fn client(&self) -> Oci {
        let mut config = OciConfig::new(self.host());
        config.url = Some(format!("http://{}", self.host()));
        config.private = true;
        config.piece_bytes = PIECE;
        let service = ReqwestService::new(&ReqwestConfig::default(), config.egress().unwrap()).unwrap();
        Oci::new(config, None, Arc::new(service), Arc::new(SystemTimer)).unwrap()
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// The head of a request or answer, and what came with it of the content.
fn head(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        head.extend_from_slice(&buffer[..read]);
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = head.split_off(end + 4);
            return Some((String::from_utf8(head).unwrap(), rest));
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
}

fn pass(mut client: TcpStream, behind: u16, cut_after: usize, seen: &Mutex<Vec<Sent>>) {
    let Some((asked, mut content)) = head(&mut client) else { return };
    let method = asked.split(' ').next().unwrap().to_owned();
    let length: usize = header(&asked, "content-length").map_or(0, |length| length.parse().unwrap());
    let what = format!("{method} {}", header(&asked, "content-range").unwrap_or("-"));
    let at = {
        let mut seen = seen.lock().unwrap();
        seen.push(Sent { what, bytes: 0, status: None, there: None });
        seen.len() - 1
    };
    let is_second = method == "PATCH"
        && seen.lock().unwrap().iter().filter(|sent| sent.what.starts_with("PATCH")).count() == 2;
    let limit = if is_second { cut_after } else { length };
    let mut registry = TcpStream::connect(("127.0.0.1", behind)).unwrap();
    let (first, rest) = asked.split_once("\r\n").unwrap();
    let rest = rest.replace("\r\nconnection: keep-alive", "");
    write!(registry, "{first}\r\nConnection: close\r\n{rest}").unwrap();
    let mut passed = 0;
    loop {
        let now = content.len().min(limit - passed);
        registry.write_all(&content[..now]).unwrap();
        passed += now;
        if passed == limit {
            break;
        }
        content.resize(16 << 10, 0);
        let Some(read) = client.read(&mut content).ok().filter(|read| *read > 0) else { break };
        content.truncate(read);
    }
    seen.lock().unwrap()[at].bytes = passed;
    if is_second {
        // The registry is done with what it got before anybody asks it again.
        registry.shutdown(Shutdown::Write).unwrap();
        let _ = registry.read_to_end(&mut Vec::new());
        return;
    }
    let Some((answer, content)) = head(&mut registry) else { return };
    let range = header(&answer, "range").map(|range| range.rsplit('-').next().unwrap().parse().unwrap());
    {
        let mut seen = seen.lock().unwrap();
        seen[at].status = answer.split(' ').nth(1).map(|status| status.parse().unwrap());
        seen[at].there = range.map(|last: usize| if last == 0 { 0 } else { last + 1 });
    }
    let _ = client.write_all(&[answer.as_bytes(), &content].concat());
    let _ = std::io::copy(&mut registry, &mut client);
}

/// Content that no compression makes smaller, and its digest.
pub(crate) fn content() -> (Bytes, Digest) {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let content: Bytes = (0..37_501).flat_map(|_| next()).collect();
    let digest = Digest::of(&content);
    (content, digest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_registry_goes_on_with_an_upload_whose_connection_was_cut_and_gets_no_byte_twice() {
    let Some(daemon) = Daemon::start(Auth::Nobody) else { return };
    let proxy = Proxy::before(&daemon, 0);
    let app = image(&format!("{}/team/app", proxy.host()));
    let (content, digest) = content();
    let size = content.len();
    proxy.client().put_blob(&app, &digest, size as u64, stream::once(content.clone())).await.unwrap();
    assert!(std::fs::read(daemon.blob(digest.hex())).unwrap() == content);
    let sent = proxy.sent();
    let pieces: Vec<&Sent> = sent.iter().filter(|sent| sent.what.starts_with("PATCH")).collect();
    assert_eq!(pieces.iter().map(|piece| piece.bytes).sum::<usize>(), size, "{sent:?}");
    let starts = [0, PIECE, PIECE, 2 * PIECE, 3 * PIECE, 4 * PIECE];
    let ranges = starts.map(|start| format!("PATCH {start}-{}", (start + PIECE).min(size) - 1));
    assert_eq!(pieces.iter().map(|piece| piece.what.as_str()).collect::<Vec<_>>(), ranges);
    assert_eq!((pieces[1].bytes, pieces[1].status), (0, None), "the second one is cut");
    let asked = sent.iter().find(|sent| sent.what.starts_with("GET")).unwrap();
    assert_eq!((asked.status, asked.there), (Some(204), Some(PIECE)), "it goes on with what is there");
}

/// `docker-registry` forgets an upload of which it has more than it told. What it told before is all that it goes on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_cut_within_a_piece_is_told_as_lost_and_done_anew() {
    for cut_after in [1, PIECE / 2, PIECE] {
        let Some(daemon) = Daemon::start(Auth::Nobody) else { return };
        let proxy = Proxy::before(&daemon, cut_after);
        let app = image(&format!("{}/team/app", proxy.host()));
        let (content, digest) = content();
        let (client, size) = (proxy.client(), content.len() as u64);
        let error = client.put_blob(&app, &digest, size, stream::once(content.clone())).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Maybe), "{error}");
        assert!(error.message().contains("lost the upload"), "{error}");
        assert_eq!(client.blob_size(&app, &digest).await.unwrap(), None);
        client.put_blob(&app, &digest, size, stream::once(content.clone())).await.unwrap();
        assert!(std::fs::read(daemon.blob(digest.hex())).unwrap() == content);
    }
}
