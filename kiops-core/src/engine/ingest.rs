//! Taking deliveries in: peek, route, verify, decode, accept, answer. A route of the host's only mounts it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::build::Trigger;
use crate::error::ErrorKind;
use crate::event::{Event, Repository};
use crate::name::{DeliveryId, HookId, ProviderName, ServiceName};
use crate::problem::Problem;
use crate::secret::Secret;
use crate::service::Source;
use crate::store::{Accepted, DeliveryRecord, EventRecord, Hook, HookRoute, NewDelivery, Store};
use crate::webhook::{Delivery, Detector, SecretSet, WebhookSource};

/// What a delivery may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestLimits {
    /// The largest body in bytes. 26 MiB by default: GitHub and GitLab send at most 25 MB (E10).
    pub body: usize,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self { body: 26 << 20 }
    }
}

impl IngestLimits {
    /// Limits with another body cap.
    #[must_use]
    pub const fn with_body(mut self, bytes: usize) -> Self {
        self.body = bytes;
        self
    }
}

/// Takes deliveries in.
///
/// The answer is 2xx only once a delivery is stored. A wrong signature and an unknown repository give the same 401 after
/// the same number of MACs. Everything that verified is answered 2xx, also what will be ignored: four 4xx in a row and
/// GitLab switches its hook off (E35).
pub struct Ingest {
    sources: BTreeMap<ProviderName, Arc<dyn WebhookSource>>,
    /// Finds the sender where the path names none.
    detector: Option<Arc<dyn Detector>>,
    limits: IngestLimits,
    /// The key of decoys: MACs that only make up the number.
    decoy: [u8; 32],
}

/// A delivery whose body is still coming in.
pub struct Intake<'a> {
    ingest: &'a Ingest,
    source: &'a Arc<dyn WebhookSource>,
    hook: Option<HookId>,
    headers: HeaderMap,
    body: BytesMut,
}

/// The key of the decoys stays unknown.
impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest")
            .field("sources", &self.sources)
            .field("detector", &self.detector)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Headers, body and path may hold a secret: only sizes are printed.
impl fmt::Debug for Intake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("source", &self.source)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What the path of a delivery names: a sender, or none where its headers are to show it; and a hook.
struct Address<'a> {
    source: Option<&'a Arc<dyn WebhookSource>>,
    hook: Option<HookId>,
}

/// An answer that ends a delivery early.
pub type Refused = Box<Response<Bytes>>;

/// What became of a delivery, for the route that mounted the ingest.
#[derive(Debug)]
pub struct Taken {
    /// The answer to the sender.
    pub response: Response<Bytes>,
    /// How many MACs were computed.
    pub macs: usize,
    /// What was taken in, for each service whose secret verified.
    pub accepted: Vec<Accepted>,
}

impl Ingest {
    /// An ingest for these senders. `seed` makes the keys of decoy MACs: 32 random bytes that nobody else knows.
    pub fn new(
        sources: impl IntoIterator<Item = Arc<dyn WebhookSource>>,
        limits: IngestLimits,
        seed: [u8; 32],
    ) -> Self {
        let sources = sources.into_iter().map(|source| (source.name(), source)).collect();
        Self { sources, detector: None, limits, decoy: seed }
    }

    /// The same, which also takes deliveries on a path without a sender's name, and asks this detector whose they are.
    #[must_use]
    pub fn with_detector(mut self, detector: Arc<dyn Detector>) -> Self {
        self.detector = Some(detector);
        self
    }

    /// Looks at a request's head: `POST .../webhook/{provider}` or `.../webhook/{provider}/{hook}`; with a detector also `.../webhook`
    /// or `.../webhook/{hook}`, which is taken as if the path had the name of the sender that its headers show. The error is the answer,
    /// given before the body is read: 400 where the headers show no sender, 404 for an unknown sender, 405, 413 for a length over the
    /// cap, 415 for an encoded body.
    pub fn begin(&self, method: &Method, path: &str, headers: HeaderMap) -> Result<Intake<'_>, Refused> {
        let refuse = |status, detail: &str| Err(Box::new(Problem::new(status, detail).response()));
        let Address { source: named, hook } = self.address(path)?;
        if method != Method::POST {
            let mut response =
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "webhooks are sent by POST").response();
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
            return Err(Box::new(response));
        }
        let source = match named {
            Some(source) => source,
            None => self.detected(&headers)?,
        };
        // A MAC is over the bytes as sent, and a compressed body could grow without bound.
        let encoded = headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
        if encoded {
            return refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "an encoded body is not taken: send it as it is",
            );
        }
        let declared =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > self.limits.body as u64) {
            return Err(self.too_large());
        }
        Ok(Intake { ingest: self, source, hook, headers, body: BytesMut::new() })
    }

    /// A whole request at once: for a host that has the body already.
    pub async fn handle(&self, request: http::Request<Bytes>, store: &dyn Store, now: Timestamp) -> Taken {
        let (parts, body) = request.into_parts();
        let refused = |response: Refused| Taken { response: *response, macs: 0, accepted: Vec::new() };
        let mut intake = match self.begin(&parts.method, parts.uri.path(), parts.headers) {
            Ok(intake) => intake,
            Err(response) => return refused(response),
        };
        if let Err(response) = intake.push(&body) {
            return refused(response);
        }
        intake.finish(store, now).await
    }

    /// What a path names.
    fn address(&self, path: &str) -> Result<Address<'_>, Refused> {
        let missing = |detail| Box::new(Problem::new(StatusCode::NOT_FOUND, detail).response());
        let rest = match path.rsplit_once("/webhook/") {
            Some((_, rest)) => rest,
            None if path.ends_with("/webhook") => "",
            None => return Err(missing("no webhook path")),
        };
        let hook = |text: &str| match text {
            "" => Ok(None),
            text => HookId::parse(text).map(Some).map_err(|_| missing("no hook path")),
        };
        let (first, second) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some(source) = self.sources.get(first) {
            return Ok(Address { source: Some(source), hook: hook(second)? });
        }
        match hook(first) {
            Ok(hook) if second.is_empty() && self.detector.is_some() => Ok(Address { source: None, hook }),
            _ if first.is_empty() => {
                let problem = Problem::new(StatusCode::NOT_FOUND, "the path names no sender");
                Err(Box::new(problem.with_remedy(NAME_IT).response()))
            }
            _ => Err(missing("there is no sender of this name")),
        }
    }

    /// The sender that the headers of a delivery show, where its path names none.
    fn detected(&self, headers: &HeaderMap) -> Result<&Arc<dyn WebhookSource>, Refused> {
        let refuse =
            |status, detail: String| Box::new(Problem::new(status, detail).with_remedy(NAME_IT).response());
        let found = self.detector.as_ref().and_then(|detector| detector.detect(headers));
        let Some(name) = found else {
            let marks = self.detector.as_ref().map(|detector| detector.marks()).unwrap_or_default();
            let detail = format!("the headers show no sender; looked for {}", marks.join(", "));
            return Err(refuse(StatusCode::BAD_REQUEST, detail));
        };
        self.sources.get(&name).ok_or_else(|| {
            let detail = format!("the headers show sender `{name}`, and there is none of this name here");
            refuse(StatusCode::NOT_FOUND, detail)
        })
    }

    fn too_large(&self) -> Refused {
        let text = format!("the body is larger than {} bytes", self.limits.body);
        Box::new(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text).response())
    }

    /// Secrets that verify nothing: `n` of them, in a form that every scheme takes.
    fn decoys(&self, n: usize) -> SecretSet {
        SecretSet::new((0..n).filter_map(|at| {
            let mut hasher = Sha256::new();
            hasher.update(self.decoy);
            hasher.update(at.to_be_bytes());
            let key = base64::engine::general_purpose::STANDARD.encode(hasher.finalize());
            Secret::new(format!("whsec_{key}"))
        }))
    }
}

impl Intake<'_> {
    /// Takes a piece of the body. The error is the answer: 413 as soon as the cap is passed.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        if self.body.len() + chunk.len() > self.ingest.limits.body {
            return Err(self.ingest.too_large());
        }
        self.body.extend_from_slice(chunk);
        Ok(())
    }

    /// Verifies, decodes and stores the delivery, and says the answer.
    pub async fn finish(self, store: &dyn Store, now: Timestamp) -> Taken {
        let Self { ingest, source, hook, headers, body } = self;
        let delivery = Delivery { provider: source.name(), hook, headers, body: body.freeze() };
        let mut macs = 0;
        let answer = ingest.take(source.as_ref(), &delivery, store, now, &mut macs).await;
        let (response, accepted) = match answer {
            Ok(accepted) => (accepted_response(&accepted), accepted),
            Err(response) => (*response, Vec::new()),
        };
        Taken { response, macs, accepted }
    }
}

impl Ingest {
    async fn take(
        &self,
        source: &dyn WebhookSource,
        delivery: &Delivery,
        store: &dyn Store,
        now: Timestamp,
        macs: &mut usize,
    ) -> Result<Vec<Accepted>, Refused> {
        let repository = source.repository(delivery);
        let route = HookRoute {
            provider: delivery.provider.clone(),
            hook: delivery.hook.clone(),
            repository: repository.clone(),
        };
        let routes = store.routes(&route).await.map_err(|error| unavailable(&error))?;
        let mut vouched: Vec<&Hook> = Vec::new();
        let mut tried = 0;
        for hook in &routes.hooks {
            let verification = source.verify(delivery, &hook.secrets, now);
            *macs += verification.macs;
            tried += hook.secrets.valid(now).count();
            let proven =
                if source.signs() { verification.verdict.is_verified() } else { delivery.hook.is_some() };
            // Of a delivery that may speak of several, each event is asked below.
            let own = delivery.hook.is_some() && source.spans_repositories();
            if proven && (own || speaks_of(delivery, hook, repository.as_ref())) {
                vouched.push(hook);
            }
        }
        // Whoever guesses pays as much as the repository with the most secrets costs, whether it exists or not.
        if routes.most_secrets > tried {
            *macs += source.verify(delivery, &self.decoys(routes.most_secrets - tried), now).macs;
        }
        if vouched.is_empty() {
            return Err(not_vouched(delivery));
        }
        let events = source.decode(delivery).map_err(|error| {
            tracing::warn!(provider = %delivery.provider, %error, "delivery verified and not understood");
            Box::new(Problem::from(&error).response())
        })?;
        let spans = source.spans_repositories();
        let images = images_of(store, &vouched).await?;
        vouched.retain(|hook| !is_nameless(&hook.repository) || images.contains_key(&hook.service));
        if vouched.is_empty() {
            return Err(not_vouched(delivery));
        }
        // The peek stops at the first repository that it finds: what the events say counts too.
        let is_of = |hook: &Hook, event: &Event| {
            let runs = |images: &BTreeSet<String>| images.contains(&event.repository.path);
            is_nameless(&event.repository)
                || speaks_of(delivery, hook, Some(&event.repository))
                    && (!spans || images.get(&hook.service).is_none_or(runs))
        };
        vouched.retain(|hook| spans || events.iter().all(|event| is_of(hook, event)));
        if vouched.is_empty() {
            return Err(not_vouched(delivery));
        }
        if spans {
            vouched.retain(|hook| events.iter().any(|event| is_of(hook, event)));
            if vouched.is_empty() {
                return Ok(Vec::new());
            }
        }
        let replay = source.replay_key(delivery).received(now);
        let body_digest = crate::name::hex(&Sha256::digest(&delivery.body));
        let body = source.redact(delivery);
        let new = vouched.into_iter().map(|hook| NewDelivery {
            record: DeliveryRecord {
                id: DeliveryId::derive([
                    hook.service.as_str(),
                    delivery.provider.as_str(),
                    replay.as_str(),
                    &now.as_nanosecond().to_string(),
                ]),
                service: hook.service.clone(),
                provider: delivery.provider.clone(),
                trigger: Trigger::Webhook,
                received_at: now,
                signed: source.covers_body(),
                repeat: false,
                events: events
                    .iter()
                    .filter(|event| is_of(hook, event))
                    .cloned()
                    .map(EventRecord::new)
                    .collect(),
                quarantined: None,
            },
            replay: replay.clone(),
            body_digest: body_digest.clone(),
            body: body.clone(),
        });
        store.accept(new.collect()).await.map_err(|error| unavailable(&error))
    }
}

/// Of each image service among those whose hook names no repository, the paths of its images: a sender that tells it of everything is
/// heard of these only.
async fn images_of(
    store: &dyn Store,
    hooks: &[&Hook],
) -> Result<BTreeMap<ServiceName, BTreeSet<String>>, Refused> {
    let mut images = BTreeMap::new();
    for hook in hooks.iter().filter(|hook| is_nameless(&hook.repository)) {
        let stored = store.service(&hook.service).await.map_err(|error| unavailable(&error))?;
        if let Some(service) = stored.map(|stored| stored.value).filter(|one| one.source == Source::Image) {
            let paths = service.settings.ready_images().map(|image| image.name.path().to_owned());
            images.insert(service.name, paths.collect());
        }
    }
    Ok(images)
}

/// Whether what a delivery names is of this hook. One of an image service names no repository: its own path alone leads there, and the
/// service's settings say which images count.
fn speaks_of(delivery: &Delivery, hook: &Hook, named: Option<&Repository>) -> bool {
    if is_nameless(&hook.repository) { delivery.hook.is_some() } else { same_repository(hook, named) }
}

/// A secret of one repository must not start another's build (threats F): by a hook's own path too, the body must name its repository.
pub(super) fn same_repository(hook: &Hook, named: Option<&Repository>) -> bool {
    let Some(named) = named else { return true };
    match (&hook.repository.id, &named.id) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => hook.repository.path == named.path,
    }
}

/// What helps where the headers do not.
const NAME_IT: &str = "send it to the sender's own path: .../webhook/{provider}";

/// System events name no repository.
const fn is_nameless(repository: &Repository) -> bool {
    repository.id.is_none() && repository.path.is_empty()
}

/// One answer for a wrong secret, an unknown repository, and a body that speaks of another's.
fn not_vouched(delivery: &Delivery) -> Refused {
    tracing::info!(provider = %delivery.provider, bytes = delivery.body.len(), "delivery refused: no secret vouches for it");
    let problem =
        Problem::new(StatusCode::UNAUTHORIZED, "the delivery is signed by no secret that is known here");
    let remedy =
        "compare the webhook's secret with the service's, and the repository with the registered one";
    Box::new(problem.with_remedy(remedy).response())
}

/// Nothing was stored: the sender must try again. Never 2xx, and no detail of ours.
fn unavailable(error: &crate::Error) -> Refused {
    tracing::error!(%error, "delivery not stored");
    let (status, text, remedy) = match error.kind() {
        ErrorKind::Full => (
            StatusCode::INSUFFICIENT_STORAGE,
            "no space is left to store the delivery",
            "free space on the server's disk or raise its limit, then send it again",
        ),
        ErrorKind::Corrupt => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the delivery could not be stored: the store is damaged",
            "restore the store as the server's log says, then send it again",
        ),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the delivery could not be stored: the store does not take it now",
            "send it again; if that goes on, look at the server's log, and at the disk and the locks of its store",
        ),
    };
    Box::new(Problem::new(status, text).with_remedy(remedy).with_retry_after(10).response())
}

fn accepted_response(accepted: &[Accepted]) -> Response<Bytes> {
    #[derive(Serialize)]
    struct Answer<'a> {
        status: &'static str,
        deliveries: Vec<&'a str>,
    }
    let new = accepted.iter().any(|one| matches!(one, Accepted::New(_)));
    let ids = accepted.iter().map(|one| match one {
        Accepted::New(id) | Accepted::Duplicate(id) => id.as_str(),
    });
    let status = match accepted {
        [] => "ignored",
        _ if new => "accepted",
        _ => "duplicate",
    };
    let answer = Answer { status, deliveries: ids.collect() };
    let mut response = Response::new(Bytes::from(serde_json::to_vec(&answer).unwrap_or_default()));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
