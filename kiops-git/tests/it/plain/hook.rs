//! Real pushes through the installed hook. The hook's program is this test binary, run again.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::event::EventKind;
use kiops_core::name::ProviderName;
use kiops_core::secret::Secret;
use kiops_core::webhook::{Delivery, SecretSet, Verdict, WebhookSource as _, scheme};
use kiops_git::plain::{
    DELIVERY_PATH, Delivered, HookCommand, Notice, PlainWebhook, deliver, install_hook, parse_post_receive,
};

use super::Fixture;

/// Lies in the repository of a test; holds the repository's name and the file with the port.
const SETTINGS: &str = "kiops-test-hook";
/// What the hook's program found, for the test to read.
const RESULT: &str = "kiops-test-result";

fn secret() -> Secret {
    scheme::signing_token(&[7; 32]).unwrap()
}

/// The program that the hook runs. As an ordinary test it finds nothing to do.
#[test]
fn the_hook_program() {
    let Ok(settings) = std::fs::read_to_string(SETTINGS) else { return };
    let (repository, port_file) = settings.split_once('\n').unwrap();
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    let changes = parse_post_receive(&input).unwrap();
    let notice = Notice { repository: repository.into(), pusher: "tester".into(), changes };
    let port = || std::fs::read_to_string(port_file).ok()?.trim().parse().ok();
    let delivered = deliver(&notice, &secret(), port).unwrap();
    std::fs::write(RESULT, format!("{delivered:?}")).unwrap();
}

fn command(program: PathBuf) -> HookCommand {
    let args = ["plain::hook::the_hook_program", "--exact", "--nocapture", "--test-threads=1"];
    HookCommand { program, args: args.iter().map(Into::into).collect() }
}

fn with_hook() -> Fixture {
    let fixture = Fixture::new();
    fixture.commit(&[("a", "1")], "one");
    install_hook(&fixture.bare(), &command(std::env::current_exe().unwrap())).unwrap();
    let port_file = fixture.path().join("port");
    let settings = format!("{}\n{}", fixture.repository().path, port_file.display());
    std::fs::write(fixture.bare().join(SETTINGS), settings).unwrap();
    fixture
}

fn write_port(fixture: &Fixture, port: u16) {
    let new = fixture.path().join("port.new");
    std::fs::write(&new, port.to_string()).unwrap();
    std::fs::rename(new, fixture.path().join("port")).unwrap();
}

fn result(fixture: &Fixture) -> String {
    std::fs::read_to_string(fixture.bare().join(RESULT)).unwrap()
}

/// A server that gives one answer after another and hands over what it was sent.
fn server(answers: Vec<&'static str>) -> (u16, mpsc::Receiver<Delivery>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut stream);
            // The other side may have gone.
            let _ = stream.write_all(answer.as_bytes());
            let _ = sender.send(request);
        }
    });
    (port, received)
}

fn read_request(stream: &mut std::net::TcpStream) -> Delivery {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            assert!(head.starts_with(&format!("POST {DELIVERY_PATH} HTTP/1.1\r\n")), "{head}");
            let mut headers = http::HeaderMap::new();
            for line in head.lines().skip(1) {
                let (name, value) = line.split_once(": ").unwrap();
                headers.append(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            }
            let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
            if body.len() == length {
                let provider = ProviderName::parse("plain").unwrap();
                return Delivery::new(provider, headers, Bytes::from(body.to_owned()));
            }
        }
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the request ended early");
        bytes.extend_from_slice(&chunk[..n]);
    }
}

#[test]
fn a_push_is_delivered_signed_with_everything_it_changed() {
    let fixture = with_hook();
    let (port, received) = server(vec!["HTTP/1.1 202 Accepted\r\n\r\n"]);
    write_port(&fixture, port);
    let before = fixture.run(&["rev-parse", "HEAD"]);
    fixture.run(&["commit", "-q", "--allow-empty", "-m", "two"]);
    let head = fixture.run(&["rev-parse", "HEAD"]);
    fixture.run(&["push", "-q", "origin", "main", "HEAD:refs/heads/größe/#1", "HEAD:refs/tags/v1"]);
    assert_eq!(result(&fixture), "Accepted(202)");

    let delivery = received.recv().unwrap();
    let webhook = PlainWebhook;
    let verdict = |secret| webhook.verify(&delivery, &SecretSet::new([secret]), Timestamp::now()).verdict;
    assert_eq!(verdict(secret()), Verdict::Verified);
    assert_eq!(verdict(scheme::signing_token(&[8; 32]).unwrap()), Verdict::Mismatch);
    assert_eq!(webhook.repository(&delivery).unwrap(), fixture.repository());
    let events = webhook.decode(&delivery).unwrap();
    assert_eq!(events.len(), 3);
    let pushes: Vec<_> = events
        .iter()
        .map(|event| match &event.kind {
            EventKind::Push(push) => {
                (push.git_ref.to_string(), push.before.commit().cloned(), push.head.commit().cloned())
            }
            EventKind::Tag(tag) => {
                (tag.git_ref.to_string(), tag.before.commit().cloned(), tag.head.commit().cloned())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let (before, head) = (Some(super::id(&before)), Some(super::id(&head)));
    assert!(pushes.contains(&("refs/heads/main".into(), before, head.clone())));
    assert!(pushes.contains(&("refs/heads/größe/#1".into(), None, head.clone())));
    assert!(pushes.contains(&("refs/tags/v1".into(), None, head)));
}

#[test]
fn deleting_a_branch_is_delivered_too() {
    let fixture = with_hook();
    fixture.run(&["push", "-q", "origin", "HEAD:refs/heads/gone"]);
    let (port, received) = server(vec!["HTTP/1.1 200 OK\r\n\r\n"]);
    write_port(&fixture, port);
    fixture.run(&["push", "-q", "origin", ":refs/heads/gone"]);
    let events = PlainWebhook.decode(&received.recv().unwrap()).unwrap();
    let EventKind::Push(push) = &events[0].kind else { panic!("{events:?}") };
    assert!(push.head.commit().is_none() && push.before.commit().is_some());
}

#[test]
fn a_push_succeeds_within_two_seconds_while_the_server_is_down() {
    for port in [None, Some(unused_port())] {
        let fixture = with_hook();
        if let Some(port) = port {
            write_port(&fixture, port);
        }
        fixture.run(&["commit", "-q", "--allow-empty", "-m", "two"]);
        let start = Instant::now();
        fixture.run(&["push", "-q", "origin", "main"]);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "the push took {took:?}");
        assert!(result(&fixture).starts_with("GaveUp"), "{}", result(&fixture));
    }
}

fn unused_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn notice() -> Notice<'static> {
    Notice { repository: "/srv/git/site.git".into(), pusher: "".into(), changes: vec![] }
}

#[test]
fn a_server_that_hangs_or_babbles_holds_no_push_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // It takes connections and never answers.
    let start = Instant::now();
    let delivered = deliver(&notice(), &secret(), || Some(port)).unwrap();
    assert!(matches!(&delivered, Delivered::GaveUp(why) if why.contains("in time")), "{delivered:?}");
    assert!(start.elapsed() < Duration::from_millis(1900));
    drop(listener);

    // One byte at a time, each within any timeout of a single read.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let start = Instant::now();
    let delivered = deliver(&notice(), &secret(), || Some(port)).unwrap();
    assert!(matches!(delivered, Delivered::GaveUp(_)));
    assert!(start.elapsed() < Duration::from_millis(1900));
}

#[test]
fn a_server_that_starts_again_elsewhere_is_found_with_the_same_delivery() {
    let (first, received_first) = server(vec!["HTTP/1.1 503 Busy\r\n\r\n"]);
    let (second, received_second) = server(vec!["HTTP/1.1 200 OK\r\n\r\n"]);
    let mut ports = [None, Some(first), Some(second)].into_iter();
    let delivered = deliver(&notice(), &secret(), || ports.next().flatten()).unwrap();
    assert_eq!(delivered, Delivered::Accepted(200));
    let (one, two) = (received_first.recv().unwrap(), received_second.recv().unwrap());
    assert!(one.header(scheme::ID_HEADER).is_some());
    assert_eq!(one.header(scheme::ID_HEADER), two.header(scheme::ID_HEADER));
    assert_eq!(one.header("host").unwrap(), format!("127.0.0.1:{first}"));
}

#[test]
fn a_refusal_is_not_repeated() {
    let (port, _received) = server(vec!["HTTP/1.1 401 Unauthorized\r\n\r\n"]);
    let start = Instant::now();
    let delivered = deliver(&notice(), &secret(), || Some(port)).unwrap();
    assert_eq!(delivered, Delivered::GaveUp("the server answered 401".into()));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn no_two_deliveries_have_the_same_id() {
    let (port, received) = server(vec!["HTTP/1.1 200 OK\r\n\r\n"; 2]);
    for _ in 0..2 {
        deliver(&notice(), &secret(), || Some(port)).unwrap();
    }
    let ids: Vec<_> =
        received.iter().take(2).map(|d| d.header(scheme::ID_HEADER).unwrap().to_owned()).collect();
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_program_with_a_shells_signs_in_its_path_runs_and_nothing_else_does() {
    let fixture = with_hook();
    let folder = fixture.path().join("it's a \"dir\" $(touch pwned) `touch pwned`;&|<>*\n\\");
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("kiops");
    std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &program).unwrap();
    install_hook(&fixture.bare(), &command(program)).unwrap();
    let (port, received) = server(vec!["HTTP/1.1 200 OK\r\n\r\n"]);
    write_port(&fixture, port);
    fixture.run(&["push", "-q", "origin", "HEAD:refs/heads/other"]);
    assert!(received.recv_timeout(Duration::from_secs(10)).is_ok());
    assert!(!fixture.bare().join("pwned").exists() && !fixture.path().join("pwned").exists());
}

#[test]
fn a_program_that_is_gone_does_not_fail_the_push() {
    let fixture = with_hook();
    install_hook(&fixture.bare(), &command("/nonexistent/kiops".into())).unwrap();
    fixture.run(&["push", "-q", "origin", "HEAD:refs/heads/other"]);
    assert!(!fixture.run(&["ls-remote", "origin", "refs/heads/other"]).is_empty());
}

#[tokio::test]
async fn the_hook_runs_whatever_hooks_path_the_pusher_has_configured() {
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("site.git");
    let local = kiops_git::plain::LocalGit::default();
    local.init_bare(&bare).await.unwrap();
    let marker = folder.path().join("ran");
    let touch = HookCommand { program: "/bin/touch".into(), args: vec![marker.clone().into()] };
    install_hook(&bare, &touch).unwrap();
    let config = folder.path().join("config");
    std::fs::write(&config, "[core]\n\thooksPath = /nonexistent\n").unwrap();
    let workspace = local.clone_to(&bare, &folder.path().join("work")).await.unwrap();
    std::fs::write(workspace.folder().join("a"), "a").unwrap();
    workspace.commit_all("a", Timestamp::UNIX_EPOCH).await.unwrap();
    push_as(workspace.folder(), &config);
    assert!(marker.exists());
}

fn push_as(folder: &Path, config: &Path) {
    let status = super::git(folder)
        .env("GIT_CONFIG_GLOBAL", config)
        .args(["push", "-q", "origin", "HEAD:refs/heads/main"])
        .status();
    assert!(status.unwrap().success());
}
