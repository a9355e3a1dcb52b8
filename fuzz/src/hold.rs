//! What must hold of every delivery, whatever is in it.

use kiops_core::event::{Columns, Event, EventKind};
use kiops_core::webhook::{Delivery, WebhookSource};

/// A byte of a body may become so many bytes of events, as JSON.
const GROWTH_MAX: usize = 16;
/// What an event may have beyond that.
const EVENT_MAX: usize = 4096;
/// What the events of a delivery of several may have: repository and pusher stand in each of them.
const REPEATED_MAX: usize = 64 << 20;

/// Peeks, redacts and decodes.
pub(crate) fn decoding(source: &dyn WebhookSource, delivery: &Delivery) {
    let peeked = source.repository(delivery).unwrap_or_default();
    let redacted = Delivery { body: source.redact(delivery), ..delivery.clone() };
    let whole = redacted.body == delivery.body;
    assert!(whole || source.redact(&redacted) == redacted.body, "what is redacted is redacted for good");
    let Ok(events) = source.decode(delivery) else { return };

    let json = serde_json::to_vec(&events).expect("an event has a JSON form");
    let extra = if events.len() > 1 { REPEATED_MAX } else { 0 };
    let bound = GROWTH_MAX * delivery.body.len() + EVENT_MAX * (events.len() + 1) + extra;
    assert!(json.len() <= bound, "{} bytes of events of {} bytes", json.len(), delivery.body.len());
    let stored: Vec<Event> = serde_json::from_slice(&json).expect("what was stored is read again");
    assert_eq!(stored, events);
    // Of a body that cannot be searched for secrets nothing is kept.
    if !whole && redacted.body != "null" {
        assert_eq!(source.decode(&redacted).expect("redacting leaves the rest as it was"), events);
    }
    for event in &events {
        // GitLab's system hooks have flat fields instead, and a body may have both: there it is ingest that compares.
        // Of a delivery of several images none may be peeked at: there ingest gives each service its own events.
        let several = source.spans_repositories() && events.len() > 1 && peeked.path.is_empty();
        if source.name().as_str() != "gitlab" && !several {
            assert_eq!(peeked.path, event.repository.path, "whose secrets are tried is whose event it is");
            // The peek may stop before the id. What it says is right.
            assert!(
                peeked.id.is_none() || peeked.id == event.repository.id,
                "{peeked:?}, {:?}",
                event.repository
            );
        }
        let _ = Columns::from(event);
        facts(event);
    }
}

/// What the kinds say of their fields.
fn facts(event: &Event) {
    match &event.kind {
        EventKind::Push(push) => assert!(push.git_ref.tag().is_none(), "a tag is no branch"),
        EventKind::Tag(tag) => assert!(tag.git_ref.branch().is_none(), "a branch is no tag"),
        EventKind::MergeRequest(request) => {
            if let Some(digits) = &request.abbreviated_head {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                assert!(!digits.is_empty() && digits.bytes().all(hex), "`{digits}` begins no commit id");
            }
        }
        EventKind::ImagePush(push) => {
            assert_eq!(push.image, event.repository.path);
            assert!(!push.image.is_empty(), "a push names its image");
            let named = push.tag.is_some() || push.digest.is_some() || push.stated_digest.is_some();
            assert!(named, "and what was pushed");
        }
        _ => {}
    }
}
