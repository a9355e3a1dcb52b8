//! A SARIF report as it is read: list by list, entry by entry, so that no list is ever held whole. A report of 32 MiB may have ten million
//! entries, each of which would take many times its text.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use sha2::{Digest as _, Sha256};

use super::sarif::{Fingerprint, Level, Sarif};

/// The runs of a report.
#[derive(Default)]
pub(super) struct Report {
    sarif: Sarif,
    runs: u32,
    unfinished: bool,
}

impl Report {
    /// What was found; `None` where a tool did not finish, or none ran.
    pub(super) fn finished(self) -> Option<Sarif> {
        (self.runs > 0 && !self.unfinished).then_some(self.sarif)
    }
}

/// What Semgrep writes as the fingerprint of every finding of somebody who is not logged in.
const NO_FINGERPRINT: &str = "requires login";
/// The longest id of a rule that is looked up, in bytes.
const RULE_MAX: usize = 1024;

pub(super) fn read(text: &str) -> serde_json::Result<Report> {
    serde_json::from_str::<Log>(text).map(|log| log.runs.0)
}

/// A list of which each entry is taken in as it is read. `null` is an empty one.
#[derive(Debug, Default)]
struct Each<T>(T);

trait TakesIn: Default {
    type Entry: for<'de> Deserialize<'de>;

    fn take_in(&mut self, entry: Self::Entry);
}

impl<'de, T: TakesIn> Deserialize<'de> for Each<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: TakesIn> Visitor<'de> for Entries<T> {
            type Value = Each<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Each<T>, E> {
                Ok(Each(T::default()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Each<T>, A::Error> {
                let mut all = T::default();
                while let Some(entry) = list.next_element()? {
                    all.take_in(entry);
                }
                Ok(Each(all))
            }
        }

        deserializer.deserialize_any(Entries(PhantomData))
    }
}

#[derive(Deserialize)]
struct Log {
    runs: Each<Report>,
}

impl TakesIn for Report {
    type Entry = Run;

    fn take_in(&mut self, run: Run) {
        let Run { tool, results, invocations } = run;
        self.runs = self.runs.saturating_add(1);
        self.unfinished |= results.is_none() || invocations.0.any_failed;
        let results = results.unwrap_or_default();
        for (level, times) in results.0.levels {
            let level = match level {
                Told::Level(level) => level,
                Told::ByRule(rule) => tool.level_of(&rule),
            };
            self.sarif.count(level, times);
        }
        for (finding, times) in results.0.findings {
            self.sarif.note(finding, times);
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Run {
    tool: Tool,
    /// None at all, and `null`: the tool did not come so far.
    results: Option<Each<Results>>,
    invocations: Each<Invocations>,
}

/// How the tool was run.
#[derive(Default)]
struct Invocations {
    any_failed: bool,
}

impl TakesIn for Invocations {
    type Entry = Invocation;

    fn take_in(&mut self, one: Invocation) {
        self.any_failed |= one.execution_successful == Some(false);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tool {
    driver: Component,
    extensions: Each<Extensions>,
}

impl Tool {
    fn level_of(&self, rule: &Rule) -> Level {
        let by_index = || self.driver.rules.0.by_index.get(usize::try_from(rule.index?).ok()?).copied();
        let by_id = |id: &str| {
            let (driver, extensions) = (&self.driver.rules.0.by_id, &self.extensions.0.0);
            driver.get(id).or_else(|| extensions.get(id)).copied()
        };
        // A rule's id may be that of its place in a hierarchy: `CA1000/1` is a case of rule `CA1000`. No tool's ids are longer, and to compare
        // each part of one that somebody made up takes the square of its length.
        let whole = rule.id.as_deref().filter(|id| id.len() <= RULE_MAX);
        let parents = std::iter::successors(whole, |id| id.rsplit_once('/').map(|(parent, _)| parent));
        parents.filter(|id| !id.is_empty()).find_map(by_id).or_else(by_index).unwrap_or(Level::Warning)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Component {
    rules: Each<Rules>,
}

/// The levels of rules.
#[derive(Default)]
struct Rules {
    by_index: Vec<Level>,
    /// Only those that name a level.
    by_id: BTreeMap<String, Level>,
}

impl TakesIn for Rules {
    type Entry = Descriptor;

    fn take_in(&mut self, rule: Descriptor) {
        let level = rule.default_configuration.and_then(|settings| settings.level);
        let level = level.as_deref().map(Level::named);
        self.by_index.push(level.unwrap_or(Level::Warning));
        if let (Some(id), Some(level)) = (rule.id.filter(|id| id.len() <= RULE_MAX), level) {
            self.by_id.insert(id, level);
        }
    }
}

/// The rules of a tool's extensions, by id.
#[derive(Default)]
struct Extensions(BTreeMap<String, Level>);

impl TakesIn for Extensions {
    type Entry = Component;

    fn take_in(&mut self, extension: Component) {
        self.0.extend(extension.rules.0.by_id);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    id: Option<String>,
    default_configuration: Option<Configuration>,
}

#[derive(Deserialize)]
struct Configuration {
    level: Option<String>,
}

/// The findings of a run.
#[derive(Default)]
struct Results {
    levels: BTreeMap<Told, u32>,
    findings: BTreeMap<Fingerprint, u32>,
}

/// What tells a finding's level.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Level(Level),
    /// Its rule, which may stand behind it in the report.
    ByRule(Rule),
}

impl TakesIn for Results {
    type Entry = Finding;

    fn take_in(&mut self, finding: Finding) {
        let Suppressions { any, open } = finding.suppressions.0;
        if (any && !open) || finding.baseline_state.as_deref() == Some("absent") {
            return;
        }
        let seen = self.findings.entry(finding.fingerprint()).or_default();
        *seen = seen.saturating_add(1);
        let level = match (finding.level.as_deref(), finding.kind.as_deref()) {
            (Some(level), _) => Told::Level(Level::named(level)),
            (None, Some(kind)) if kind != "fail" => Told::Level(Level::Note),
            (None, _) => Told::ByRule(finding.rule_of()),
        };
        let counted = self.levels.entry(level).or_default();
        *counted = counted.saturating_add(1);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    rule_id: Option<String>,
    rule_index: Option<i64>,
    rule: Option<Rule>,
    kind: Option<String>,
    level: Option<String>,
    baseline_state: Option<String>,
    message: Option<Text>,
    #[serde(default)]
    suppressions: Each<Suppressions>,
    #[serde(default)]
    fingerprints: Marks,
    #[serde(default)]
    partial_fingerprints: Marks,
    #[serde(default)]
    locations: Each<Places>,
}

/// A reference to a rule.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Rule {
    id: Option<String>,
    index: Option<i64>,
}

#[derive(Deserialize)]
struct Text {
    text: Option<String>,
}

impl Finding {
    fn rule_of(self) -> Rule {
        let named = self.rule.unwrap_or(Rule { id: None, index: None });
        Rule { id: self.rule_id.or(named.id), index: self.rule_index.or(named.index) }
    }

    fn fingerprint(&self) -> Fingerprint {
        let rule = self.rule_id.as_deref().or_else(|| self.rule.as_ref()?.id.as_deref());
        let mut hasher = Sha256::new();
        put(&mut hasher, rule);
        let places = &self.locations.0;
        match (self.fingerprints.0, self.partial_fingerprints.0) {
            (Some(marks), _) => hasher.update(marks.to_be_bytes()),
            // The same line in another file has the same ones from CodeQL.
            (None, Some(marks)) => {
                hasher.update(marks.to_be_bytes());
                hasher.update(places.files.clone().finalize());
            }
            (None, None) => {
                hasher.update(places.texts.clone().finalize());
                if !places.have_text {
                    put(&mut hasher, self.message.as_ref().and_then(|message| message.text.as_deref()));
                }
            }
        }
        short(hasher)
    }
}

/// Where a finding is.
#[derive(Default)]
struct Places {
    files: Sha256,
    /// The files with the texts in them.
    texts: Sha256,
    have_text: bool,
}

impl TakesIn for Places {
    type Entry = Location;

    fn take_in(&mut self, location: Location) {
        let Some(place) = location.physical_location else { return };
        let file = place.artifact_location.and_then(|file| file.uri);
        put(&mut self.files, file.as_deref());
        put(&mut self.texts, file.as_deref());
        let text = place.region.and_then(|region| region.snippet?.text);
        put(&mut self.texts, text.as_deref());
        self.have_text |= text.is_some();
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: Option<Physical>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Option<Artifact>,
    region: Option<Region>,
}

#[derive(Deserialize)]
struct Artifact {
    uri: Option<String>,
}

#[derive(Deserialize)]
struct Region {
    snippet: Option<Text>,
}

/// Whether a finding is suppressed, and whether that is still open or was rejected.
#[derive(Default)]
struct Suppressions {
    any: bool,
    open: bool,
}

impl TakesIn for Suppressions {
    type Entry = Suppression;

    fn take_in(&mut self, one: Suppression) {
        self.any = true;
        self.open |= one.status.is_some_and(|status| status != "accepted");
    }
}

#[derive(Deserialize)]
struct Suppression {
    status: Option<String>,
}

/// A tool's fingerprints of a finding, as one number; `None`: there are none.
#[derive(Default)]
struct Marks(Option<u128>);

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Marks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fingerprints by name")
            }

            fn visit_unit<E>(self) -> Result<Marks, E> {
                Ok(Marks(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Marks, A::Error> {
                let mut all = None;
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if value != NO_FINGERPRINT {
                        let mut hasher = Sha256::new();
                        put(&mut hasher, Some(&name));
                        put(&mut hasher, Some(&value));
                        // A sum, because their order does not count.
                        let one = u128::from_be_bytes(short(hasher));
                        all = Some(all.unwrap_or(0_u128).wrapping_add(one));
                    }
                }
                Ok(Marks(all))
            }
        }

        deserializer.deserialize_any(Entries)
    }
}

/// Takes in a text in a way that no other texts in a row amount to.
fn put(hasher: &mut Sha256, text: Option<&str>) {
    match text {
        Some(text) => {
            hasher.update((text.len() as u64 + 1).to_be_bytes());
            hasher.update(text);
        }
        None => hasher.update(0_u64.to_be_bytes()),
    }
}

fn short(hasher: Sha256) -> Fingerprint {
    let mut short = Fingerprint::default();
    for (to, from) in short.iter_mut().zip(hasher.finalize()) {
        *to = from;
    }
    short
}
