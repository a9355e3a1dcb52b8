//! What a Git host is told of a build: a pure function of the build and what people see of it.

use super::unbuilt::context;
use crate::build::Build;
use crate::name::PinnedImage;
use crate::provider::{CommitStatus, StatusState, as_markdown};
use crate::release::{BuildView, Release, ReleaseState, VisibleState};
use crate::service::Environment;

/// A build as a commit status.
pub(crate) fn status(build: &Build, view: &BuildView, target_url: Option<String>) -> CommitStatus {
    let failure = || view.failure.as_ref().map(|failure| failure.message.clone());
    let during =
        |text: &str| view.stage.map_or_else(|| text.to_owned(), |stage| format!("{text}: {}", stage.name()));
    let (state, description) = match view.state {
        VisibleState::Queued => (StatusState::Pending, "waits for a free place".to_owned()),
        VisibleState::Starting => (StatusState::Running, "starting".to_owned()),
        VisibleState::Running => (StatusState::Running, during("running")),
        VisibleState::AwaitingApproval => {
            (StatusState::Running, "built; the deployment waits for an approval".to_owned())
        }
        VisibleState::Succeeded => {
            let name = |image: PinnedImage| match &image.tag {
                Some(tag) => format!("built {}:{tag}", image.name),
                None => format!("built {}", image.name),
            };
            (StatusState::Success, build.image().map_or_else(|| "built".to_owned(), name))
        }
        VisibleState::Failed => (StatusState::Failed, failure().unwrap_or_else(|| "failed".to_owned())),
        VisibleState::Error => {
            let text = failure().map_or_else(String::new, |text| format!(": {text}"));
            (StatusState::Failed, format!("not the commit's fault{text}"))
        }
        VisibleState::Canceled => (StatusState::Canceled, "canceled".to_owned()),
        VisibleState::Superseded => {
            (StatusState::Canceled, "canceled: a newer commit took its place".to_owned())
        }
    };
    let description = match build.live_checks_said() {
        Some(said) => format!("{description}; {said}"),
        None => description,
    };
    CommitStatus { state, context: context(build.service(), build.component()), description, target_url }
}

/// A build that is over, as a comment on its merge request, with the address of its preview where it is live in one. Markdown.
pub(crate) fn comment(
    build: &Build,
    view: &BuildView,
    status: &CommitStatus,
    preview: Option<&str>,
) -> String {
    let (mark, commit) = (mark(status.state), build.commit());
    let description = as_markdown(&status.description);
    let mut text =
        format!("{mark} **{}** {}: {description}\n\nCommit {commit}", status.context, status.state.name());
    if let Some(failure) = &view.failure {
        text.push_str(&format!("\n\nWhat to do: {}", as_markdown(&failure.remedy)));
    } else if let Some(image) = build.image() {
        text.push_str(&format!("\n\n`{image}`"));
    }
    if let Some(url) = preview {
        text.push_str(&format!("\n\n[Preview]({url})"));
    }
    if let Some(url) = &status.target_url {
        text.push_str(&format!("\n\n[Log and details]({url})"));
    }
    text
}

/// Of a release that went live in a preview: the merge request, and where the preview is reached.
pub(crate) fn preview(environments: &[Environment], release: &Release) -> Option<(u64, String)> {
    let target = &release.target;
    let number = target.preview.filter(|_| release.state == ReleaseState::Live)?;
    let found = Environment::find(environments, &target.service, &target.environment)?;
    let found = Some(found).filter(|found| found.preview.is_some())?;
    Some((number, found.url_of(&target.service, &target.component)?))
}

const fn mark(state: StatusState) -> &'static str {
    match state {
        StatusState::Success => "\u{2705}",
        StatusState::Failed => "\u{274c}",
        _ => "\u{26aa}",
    }
}
