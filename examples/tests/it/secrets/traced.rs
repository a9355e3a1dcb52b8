//! Everything that is traced while a test listens.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

/// Listens to the whole process, at every level, until it is told to stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Traced(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    deaf: AtomicBool,
    spans: AtomicU64,
    text: Mutex<String>,
}

impl Traced {
    /// Begins to listen. Once a process.
    pub(super) fn listen() -> Self {
        let traced = Self::default();
        tracing::subscriber::set_global_default(traced.clone()).unwrap();
        traced
    }

    /// Listens no more, and gives what it heard.
    pub(super) fn stop(&self) -> String {
        self.0.deaf.store(true, Ordering::Relaxed);
        std::mem::take(&mut *self.0.text.lock().unwrap())
    }

    fn write(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Fields)) {
        let mut fields = Fields(format!("{} {} {}", metadata.level(), metadata.target(), metadata.name()));
        record(&mut fields);
        let mut text = self.0.text.lock().unwrap();
        text.push_str(&fields.0);
        text.push('\n');
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}={value}", field.name());
    }
}

impl Subscriber for Traced {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        !self.0.deaf.load(Ordering::Relaxed)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.write(span.metadata(), |fields| span.record(fields));
        Id::from_u64(self.0.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        let mut text = self.0.text.lock().unwrap();
        text.push_str(&fields.0);
        text.push('\n');
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.write(event.metadata(), |fields| event.record(fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
