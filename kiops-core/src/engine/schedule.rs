//! What a service's schedules ask for (the schedule trigger).

use jiff::{SignedDuration, Timestamp};

use super::command::{Wanted, build};
use super::draft::Draft;
use super::reply::Reply;
use crate::access::{Role, Subject};
use crate::build::Trigger;
use crate::error::Result;
use crate::name::{BranchName, GitRef, MemberId};
use crate::policy::{Looked, RefKey, RefState};
use crate::provider::Commit;
use crate::service::{Schedule, Service};

/// The newest commit of a branch, as it was looked up for a schedule that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledHead {
    /// The branch.
    pub branch: BranchName,
    /// Its newest commit.
    pub commit: Commit,
}

/// How far ahead of the clock a mark may be: machines differ by seconds. One that is further ahead is from before the clock was set
/// right, and would keep schedules waiting until then.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// How a service's schedules stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is neither a schedule nor a mark.
    None,
    /// The mark is not that of these schedules: it is to be set, and nothing is due.
    New,
    /// Nothing is due; the next time, if there is one.
    Waits(Option<Timestamp>),
    /// This was due first since the schedules were looked at.
    Due(Timestamp),
}

impl Standing {
    /// How the schedules stand by what is known of [`RefKey::Schedule`]. Pure.
    pub(super) fn of(service: &Service, state: &RefState, now: Timestamp) -> Self {
        let schedules = schedules(service);
        let looked = match &state.looked {
            None if schedules.is_empty() => return Self::None,
            Some(looked) if looked.schedules == schedules && looked.at.duration_since(now) <= AHEAD => {
                looked.at
            }
            _ => return Self::New,
        };
        match schedules.iter().filter_map(|schedule| schedule.next(looked)).min() {
            Some(due) if due <= now => Self::Due(due),
            next => Self::Waits(next),
        }
    }
}

/// An image service has nothing to build.
fn schedules(service: &Service) -> &[Schedule] {
    service.source.git().map_or(&[], |_| &service.settings.auto_ci.schedule)
}

/// Builds what is due, however often it was due since, and moves the mark, both or neither.
pub(super) fn look(draft: &mut Draft<'_>, head: Option<&ScheduledHead>) -> Result<Reply> {
    let service = draft.service();
    match Standing::of(service, &draft.ref_state(&RefKey::Schedule), draft.now) {
        Standing::None | Standing::Waits(_) => Ok(Reply::Done),
        Standing::New => Ok(mark(draft)),
        Standing::Due(_) if !service.settings.auto_ci.enabled => Ok(mark(draft)),
        Standing::Due(due) => {
            let tracked = service.source.git().map(|git| &git.branch);
            // Without the head of the branch that is tracked now it stays due.
            let Some(head) = head.filter(|head| Some(&head.branch) == tracked) else {
                return Ok(Reply::Done);
            };
            let components = service.settings.components.iter().map(|component| component.name.clone());
            let wanted = Wanted {
                scope: RefKey::Schedule,
                git_ref: &GitRef::Branch(head.branch.clone()),
                commit: &head.commit,
                trigger: Trigger::Schedule,
                nonce: &format!("schedule-{}", due.as_second()),
            };
            let by = Subject::new(MemberId::parse("schedule")?, Role::Member);
            let reply = build(draft, components.collect(), &wanted, &by)?;
            mark(draft);
            Ok(reply)
        }
    }
}

/// Everything until now was looked at.
fn mark(draft: &mut Draft<'_>) -> Reply {
    let schedules = schedules(draft.service()).to_vec();
    let mut state = draft.ref_state(&RefKey::Schedule);
    state.looked = (!schedules.is_empty()).then(|| Looked { at: draft.now, schedules });
    draft.put_ref(RefKey::Schedule, state);
    Reply::Done
}
