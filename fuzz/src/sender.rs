//! The webhook senders, and how bytes become a delivery of one.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use kiops_core::name::HookId;
use kiops_core::secret::Secret;
use kiops_core::webhook::{Delivery, SecretSet, WebhookSource, scheme};
use kiops_registry::webhook::WebhookConfig;
use sha2::Sha256;

/// How a sender's deliveries look from outside. Another sender is another row here, a target and an entry in `Cargo.toml`.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// The header that names the event, and the names worth trying.
    event: (&'static str, &'static [&'static str]),
    proof: Proof,
}

/// How a sender proves a delivery.
#[derive(Debug, Clone, Copy)]
enum Proof {
    /// Standard Webhooks.
    Standard,
    /// HMAC-SHA256 of the body in this header, behind this prefix.
    Hex(&'static str, &'static str),
    /// The secret itself and a timestamp.
    Gitee,
    /// The secret itself as `Authorization`.
    Authorization,
    /// Nothing but the hook's own path.
    Path,
}

const GITHUB: &[&str] = &[
    "push",
    "pull_request",
    "workflow_run",
    "ping",
    "create",
    "delete",
    "package",
    "issues",
    "check_run",
    "release",
];
const GITEA: &[&str] = &[
    "push",
    "pull_request",
    "pull_request_sync",
    "pull_request_label",
    "pull_request_approved",
    "create",
    "delete",
    "issues",
    "release",
    "workflow_run",
];
const GITLAB: &[&str] = &[
    "Push Hook",
    "Tag Push Hook",
    "Merge Request Hook",
    "Pipeline Hook",
    "System Hook",
    "Note Hook",
    "Job Hook",
];
const GITEE: &[&str] = &["Push Hook", "Tag Push Hook", "Merge Request Hook", "Note Hook"];

const BITBUCKET: &[&str] = &[
    "repo:push",
    "pullrequest:created",
    "pullrequest:updated",
    "pullrequest:fulfilled",
    "pullrequest:rejected",
    "pullrequest:approved",
    "pullrequest:comment_created",
    "repo:fork",
];
const BITBUCKET_DC: &[&str] = &[
    "repo:refs_changed",
    "pr:opened",
    "pr:from_ref_updated",
    "pr:modified",
    "pr:merged",
    "pr:declined",
    "pr:reviewer:approved",
    "pr:comment:added",
    "diagnostics:ping",
];

const PACKAGES: &[&str] = &["package", "registry_package", "ping", "push"];
/// Registries whose bodies name their event themselves.
const NO_HEADER: (&str, &[&str]) = ("X-Kiops-Event", &["push"]);

const KINDS: &[Kind] = &[
    Kind { name: "gitlab", event: ("X-Gitlab-Event", GITLAB), proof: Proof::Standard },
    Kind {
        name: "github",
        event: ("X-GitHub-Event", GITHUB),
        proof: Proof::Hex("X-Hub-Signature-256", "sha256="),
    },
    Kind { name: "gitea", event: ("X-Gitea-Event", GITEA), proof: Proof::Hex("X-Gitea-Signature", "") },
    Kind { name: "forgejo", event: ("X-Forgejo-Event", GITEA), proof: Proof::Hex("X-Forgejo-Signature", "") },
    Kind { name: "gogs", event: ("X-Gogs-Event", GITEA), proof: Proof::Hex("X-Gogs-Signature", "") },
    Kind {
        name: "bitbucket",
        event: ("X-Event-Key", BITBUCKET),
        proof: Proof::Hex("X-Hub-Signature", "sha256="),
    },
    Kind {
        name: "bitbucket-dc",
        event: ("X-Event-Key", BITBUCKET_DC),
        proof: Proof::Hex("X-Hub-Signature", "sha256="),
    },
    Kind { name: "gitee", event: ("X-Gitee-Event", GITEE), proof: Proof::Gitee },
    Kind { name: "plain", event: ("X-Kiops-Event", &["push"]), proof: Proof::Standard },
    Kind { name: "acr", event: NO_HEADER, proof: Proof::Path },
    Kind { name: "azure-acr", event: NO_HEADER, proof: Proof::Authorization },
    Kind { name: "distribution", event: NO_HEADER, proof: Proof::Authorization },
    Kind { name: "dockerhub", event: NO_HEADER, proof: Proof::Path },
    Kind {
        name: "ghcr",
        event: ("X-GitHub-Event", PACKAGES),
        proof: Proof::Hex("X-Hub-Signature-256", "sha256="),
    },
    Kind { name: "harbor", event: NO_HEADER, proof: Proof::Authorization },
    Kind { name: "quay", event: NO_HEADER, proof: Proof::Path },
];

/// A sender of kiops-git or kiops-registry.
#[derive(Debug)]
pub struct Sender {
    kind: &'static Kind,
    source: Arc<dyn WebhookSource>,
}

/// The bits of the first byte that pick the event.
const EVENT_BITS: u8 = 5;

/// What the other bits of the first byte pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Unsigned,
    Signed,
    Damaged,
    Form,
}

/// Every sender that kiops-git and kiops-registry have and that is described here.
pub fn all() -> Vec<Sender> {
    let registries = WebhookConfig {
        own_accounts: vec!["robot$kiops".into()],
        cache_images: vec!["team/layers".into()],
        ..WebhookConfig::default()
    };
    let sources: Vec<_> =
        kiops_git::sources().into_iter().chain(kiops_registry::webhook::sources(registries)).collect();
    let find = |kind: &'static Kind| {
        let source = sources.iter().find(|source| source.name().as_str() == kind.name)?;
        Some(Sender { kind, source: Arc::clone(source) })
    };
    KINDS.iter().filter_map(find).collect()
}

impl Sender {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.kind.name
    }

    /// What is tested.
    pub fn source(&self) -> &dyn WebhookSource {
        &*self.source
    }

    /// The header that names the event.
    pub fn event_header(&self) -> &'static str {
        self.kind.event.0
    }

    /// First bytes that pick this event: unsigned, signed, with a damaged proof, and as a form. One beyond the list where it is not in it.
    pub fn picks(&self, event: &str) -> [u8; 4] {
        let names = self.kind.event.1;
        let at = names.iter().position(|name| *name == event).unwrap_or(names.len());
        std::array::from_fn(|style| (style as u8) << EVENT_BITS | at as u8)
    }

    /// The delivery that a first byte and a body stand for, and whether it proves itself by one of [`secrets`].
    ///
    /// The lower five bits of `pick` are an event's number, one past the last for none; the next two are how it comes: unsigned,
    /// signed, with a damaged proof, or as a form whose field `payload` is the body, escaped as a browser does it.
    pub fn delivery(&self, pick: u8, body: &[u8]) -> (Delivery, bool) {
        let style = [Style::Unsigned, Style::Signed, Style::Damaged, Style::Form]
            [usize::from(pick >> EVENT_BITS & 3)];
        let body = match style {
            Style::Form => [b"payload=", escape(body).as_bytes()].concat(),
            _ => body.to_vec(),
        };
        let mut headers = HeaderMap::with_capacity(4);
        let (name, events) = self.kind.event;
        let at = usize::from(pick & ((1 << EVENT_BITS) - 1)) % (events.len() + 1);
        if let Some(event) = events.get(at) {
            headers.append(name, HeaderValue::from_static(event));
        }
        if style == Style::Signed || style == Style::Damaged {
            self.prove(&mut headers, &body, style == Style::Damaged);
        }
        let mut delivery = Delivery::new(self.source.name(), headers, Bytes::from(body));
        if matches!(self.kind.proof, Proof::Path) {
            delivery.hook = match style {
                Style::Signed => HookId::parse(PATH).ok(),
                Style::Damaged => HookId::parse(format!("{PATH}-")).ok(),
                Style::Unsigned | Style::Form => None,
            };
        }
        (delivery, style == Style::Signed)
    }

    fn prove(&self, headers: &mut HeaderMap, body: &[u8], damaged: bool) {
        let mut add = |name: &'static str, value: String| {
            headers.append(name, value.parse().expect("proofs are visible ASCII"));
        };
        let seconds = now().as_second();
        // A proof is damaged by belonging to another body, or another secret.
        match self.kind.proof {
            Proof::Standard => {
                let of: &[u8] = if damaged { b"{}\n" } else { body };
                add(scheme::ID_HEADER, "id-1".into());
                add(scheme::TIMESTAMP_HEADER, seconds.to_string());
                add(
                    scheme::SIGNATURE_HEADER,
                    scheme::sign(secret(), "id-1", now(), of).expect("it is a token"),
                );
            }
            Proof::Hex(header, prefix) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(secret().expose()).expect("any length will do");
                mac.update(body);
                let mut digest: [u8; 32] = mac.finalize().into_bytes().into();
                digest[31] ^= u8::from(damaged);
                let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                add(header, format!("{prefix}{digits}"));
            }
            Proof::Authorization => {
                let text = secret().expose_str().unwrap_or_default();
                add(
                    "Authorization",
                    if damaged { format!("Basic {text}") } else { format!("Bearer {text}") },
                );
            }
            Proof::Path => {}
            Proof::Gitee => {
                let text = secret().expose_str().unwrap_or_default();
                add("X-Gitee-Token", if damaged { format!("{text}=") } else { text.to_owned() });
                add("X-Gitee-Timestamp", (seconds * 1000).to_string());
            }
        }
    }
}

/// `text` as the value of a form's field.
fn escape(body: &[u8]) -> String {
    percent_encoding::percent_encode(body, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// When everything happens.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("it is a second of our time")
}

fn token(seed: u8) -> Secret {
    scheme::signing_token(&[seed; 32]).expect("32 bytes are a key")
}

/// The secret that proofs are made with.
pub fn secret() -> &'static Secret {
    static SECRET: LazyLock<Secret> = LazyLock::new(|| token(b'k'));
    &SECRET
}

/// The unguessable part of a hook's own path.
const PATH: &str = "0123456789-the-fuzzers-own-path";

/// The secrets that a hook has: another one, the one that proofs are made with, and its own path.
pub fn secrets() -> &'static SecretSet {
    static SET: LazyLock<SecretSet> =
        LazyLock::new(|| SecretSet::new([token(7), secret().clone()].into_iter().chain(Secret::new(PATH))));
    &SET
}

/// A hook's secrets that nothing is proved with.
pub fn other_secrets() -> &'static SecretSet {
    static SET: LazyLock<SecretSet> = LazyLock::new(|| SecretSet::new([token(9)]));
    &SET
}
