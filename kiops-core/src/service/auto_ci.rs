//! What starts a build by itself, and what keeps it from starting.

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::filter::{ImageFilter, RefFilter, TagFilter};

/// Auto CI: the switch, and each trigger with its filter (K03-K06, K10, K31).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoCi {
    /// The main switch (K10).
    pub enabled: bool,
    /// How it comes to be known that something was pushed.
    pub deliveries: Deliveries,
    /// Commits on branches.
    pub push: Pushes,
    /// Tags.
    pub tag: Tags,
    /// Merge requests.
    pub merge_request: MergeRequests,
    /// Pipelines of the host's own CI.
    pub pipeline: Pipelines,
    /// Calls of other programs: the API trigger (R04).
    pub api: ApiCalls,
    /// Images that reach a registry: what redeploys an image service (R03).
    pub image: ImagePushes,
    /// When the newest commit of the tracked branch is built by the clock, changed or not, at most 10; none by default. The main
    /// switch counts too; filters, markers and the keyword do not. An image service has nothing to build.
    pub schedule: Vec<Schedule>,
    /// Base images that move: what builds again what was built last.
    pub base_image: BaseImages,
    /// Whether `[skip ci]`, `[ci skip]`, `[no ci]` and `***NO_CI***` in the head commit's message skip the build.
    pub skip_markers: bool,
    /// If set, only commits whose message contains this word are built (R11).
    pub keyword: Option<String>,
    /// Senders, by the host's numeric id, whose events start nothing: our own bot, an image updater (E45).
    pub ignored_actors: Vec<String>,
    /// What a newer push does to older builds of the same ref.
    pub supersede: Supersede,
    /// What the Git host is told of builds.
    pub report: Report,
}

impl AutoCi {
    /// The most schedules of a service.
    pub const SCHEDULES: usize = 10;
}

impl Default for AutoCi {
    fn default() -> Self {
        Self {
            enabled: true,
            deliveries: Deliveries::default(),
            push: Pushes::default(),
            tag: Tags::default(),
            merge_request: MergeRequests::default(),
            pipeline: Pipelines::default(),
            api: ApiCalls::default(),
            image: ImagePushes::default(),
            schedule: Vec::new(),
            base_image: BaseImages::default(),
            skip_markers: true,
            keyword: None,
            ignored_actors: Vec::new(),
            supersede: Supersede::default(),
            report: Report::default(),
        }
    }
}

/// How it comes to be known that something was pushed (K25).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deliveries {
    /// The host sends webhooks. Heads are listed as well, to find those that were lost.
    #[default]
    Webhook,
    /// Heads are listed, and nothing else is expected: for a machine that no webhook can reach. Pushes and tags are found within the
    /// driver's interval; merge requests and pipelines are not. A delivery that comes all the same is taken.
    Polling,
}

/// Commits on branches (K03).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pushes {
    /// Whether they build. On by default.
    pub enabled: bool,
    /// Which branches; empty: the tracked branch only.
    pub branches: RefFilter,
}

impl Default for Pushes {
    fn default() -> Self {
        Self { enabled: true, branches: RefFilter::default() }
    }
}

/// Tags (K05).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tags {
    /// Whether they build. Off by default.
    pub enabled: bool,
    /// Which tags; empty: all.
    pub patterns: TagFilter,
}

/// Calls of other programs, with the service's own key (R04-R10).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiCalls {
    /// Whether they build. Off by default. The main switch counts too.
    pub enabled: bool,
}

/// Images that reach a registry (R03). Which tags count is said by each container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagePushes {
    /// Whether they redeploy an image service. On by default; the main switch and auto deploy count too.
    pub enabled: bool,
}

impl Default for ImagePushes {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Base images that move: the images of a component's Dockerfile whose tags point elsewhere than when it was last built for them.
///
/// What is built again is the commit that a push of the tracked branch or a schedule built last. The main switch counts too. An image
/// service has nothing to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BaseImages {
    /// Whether they build. Off by default.
    pub enabled: bool,
    /// How often registries are asked, in minutes, 5 to 10080 (a week); 60 by default.
    pub every: u32,
    /// Which images count, host and tag with them; empty: all.
    pub images: ImageFilter,
}

impl BaseImages {
    /// What [`BaseImages::every`] may be, in minutes.
    pub const EVERY: std::ops::RangeInclusive<u32> = 5..=7 * 24 * 60;
}

impl Default for BaseImages {
    fn default() -> Self {
        Self { enabled: false, every: 60, images: ImageFilter::default() }
    }
}

/// Merge requests (K04).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MergeRequests {
    /// Whether opened, reopened, new code and ready-for-review build. Off by default.
    pub enabled: bool,
    /// Only those that aim at these branches; empty: the tracked branch only.
    pub targets: RefFilter,
    /// Whether drafts build.
    pub drafts: bool,
    /// Whether a merge builds too. Off by default: the push to the target branch already builds (settled 1).
    pub merged: bool,
    /// What happens to those that come from forks.
    pub forks: Forks,
}

/// What the Git host is told of builds, where it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Report {
    /// Whether every state of a build becomes a commit status. On by default: without it no failed build blocks a merge (K41).
    pub status: bool,
    /// Whether a merge request gets a comment once its build is over, the same one for every build of a component. Off by default.
    pub comment: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self { status: true, comment: false }
    }
}

/// What happens to a merge request from a fork.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forks {
    /// Held until somebody approves that very commit; then built without secrets and without push.
    #[default]
    Hold,
    /// Never built.
    Never,
}

/// Pipelines of the host's own CI (K06, settled 2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pipelines {
    /// Whether a pipeline that succeeded on a matching ref builds. Off by default.
    pub enabled: bool,
}

/// What a newer push does to older builds of the same ref.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supersede {
    /// Replaces those that still wait.
    #[default]
    Queued,
    /// Replaces those that run, too.
    Running,
    /// Replaces nothing: every push is built.
    Never,
}
