//! Who may do what. Accounts live with the host; here is only the judgement.

use serde::{Deserialize, Serialize};

use crate::name::MemberId;

/// Who asks: a member with roles, or somebody nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The member; `None` for somebody unmapped, who counts as no member.
    pub id: Option<MemberId>,
    /// The strongest role that they hold for the service in question.
    pub role: Role,
}

/// Roles, each including those before it (T17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// No member of the project.
    None,
    /// May read.
    Viewer,
    /// May build, cancel, and deploy where the environment lets any member.
    Member,
    /// May change settings, approve, and deploy to restricted environments.
    Admin,
    /// May do everything, also in locked environments.
    Owner,
}

impl Subject {
    /// Somebody nobody knows.
    pub const fn unknown() -> Self {
        Self { id: None, role: Role::None }
    }

    /// A member with a role.
    pub const fn new(id: MemberId, role: Role) -> Self {
        Self { id: Some(id), role }
    }

    /// The name to show.
    pub fn label(&self) -> &str {
        self.id.as_ref().map_or("unknown", MemberId::as_str)
    }
}

/// What somebody wants to do to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// See services, builds, logs.
    Read,
    /// Start or cancel a build.
    Build,
    /// Change settings.
    Configure,
    /// Approve a fork's commit or a release that waits.
    Approve,
}

/// Whether a subject may do this. Deploying is judged by [`Protection::deploy`].
pub fn may(subject: &Subject, action: Action) -> bool {
    let needed = match action {
        Action::Read => Role::Viewer,
        Action::Build => Role::Member,
        Action::Configure | Action::Approve => Role::Admin,
    };
    subject.role >= needed
}

/// Who may deploy to an environment (T17).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "level")]
pub enum Protection {
    /// Any project member. A push whose author is unmapped deploys too: nothing is protected.
    #[default]
    None,
    /// Admin, Owner, or who is on the list.
    Restricted {
        /// Members who may deploy though they are neither Admin nor Owner.
        #[serde(default)]
        allow: Vec<MemberId>,
    },
    /// Owner only.
    Locked,
}

/// How an environment answers a request to deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It goes at once.
    Granted,
    /// It waits until somebody who may says yes (T18).
    NeedsApproval,
}

impl Protection {
    /// Whether `subject` may deploy at once. With `approval_required`, those who are neither Admin nor Owner always wait (T18).
    pub fn deploy(&self, approval_required: bool, subject: &Subject) -> Permission {
        let level = match self {
            Self::None => true,
            Self::Restricted { .. } | Self::Locked => self.is_trusted(subject),
        };
        if level && (!approval_required || subject.role >= Role::Admin) {
            Permission::Granted
        } else {
            Permission::NeedsApproval
        }
    }

    /// Whether `subject` may approve what waits for this environment: Admin or Owner (T18), for a locked one Owner only.
    pub fn may_approve(&self, subject: &Subject) -> bool {
        match self {
            Self::None | Self::Restricted { .. } => subject.role >= Role::Admin,
            Self::Locked => subject.role >= Role::Owner,
        }
    }

    /// Whether `subject` may ask for a release by hand at all: any member, even where it then waits for approval.
    pub fn may_request(subject: &Subject) -> bool {
        subject.role >= Role::Member
    }

    fn is_trusted(&self, subject: &Subject) -> bool {
        match self {
            Self::None => true,
            Self::Restricted { allow } => {
                subject.role >= Role::Admin
                    || (subject.role >= Role::Member
                        && subject.id.as_ref().is_some_and(|id| allow.contains(id)))
            }
            Self::Locked => subject.role >= Role::Owner,
        }
    }
}

/// An approval that was given or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who decided.
    pub by: MemberId,
    /// When.
    pub at: jiff::Timestamp,
}

/// How far the content of a build is trusted. It decides about secrets and push, and is part of a build's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Pushed by somebody with write access: secrets and push.
    Trusted,
    /// A fork's commit that somebody approved: built without secrets and without push.
    Fork,
}

impl Trust {
    /// The word in JSON and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Fork => "fork",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str, role: Role) -> Subject {
        Subject::new(MemberId::parse(name).unwrap(), role)
    }

    #[test]
    fn protection_levels_follow_t17() {
        let ada = subject("ada", Role::Member);
        let restricted = Protection::Restricted { allow: vec![MemberId::parse("ada").unwrap()] };
        assert_eq!(restricted.deploy(false, &ada), Permission::Granted);
        assert_eq!(restricted.deploy(false, &subject("bob", Role::Member)), Permission::NeedsApproval);
        assert_eq!(restricted.deploy(false, &subject("eve", Role::Admin)), Permission::Granted);
        assert_eq!(Protection::Locked.deploy(false, &subject("eve", Role::Admin)), Permission::NeedsApproval);
        assert_eq!(Protection::Locked.deploy(false, &subject("root", Role::Owner)), Permission::Granted);
        assert_eq!(Protection::None.deploy(false, &Subject::unknown()), Permission::Granted);
    }

    #[test]
    fn an_allowlisted_name_without_membership_is_not_trusted() {
        let restricted = Protection::Restricted { allow: vec![MemberId::parse("ada").unwrap()] };
        assert_eq!(restricted.deploy(false, &subject("ada", Role::None)), Permission::NeedsApproval);
    }

    #[test]
    fn approval_required_holds_everybody_below_admin() {
        assert_eq!(Protection::None.deploy(true, &subject("ada", Role::Member)), Permission::NeedsApproval);
        assert_eq!(Protection::None.deploy(true, &subject("eve", Role::Admin)), Permission::Granted);
        assert!(!Protection::Locked.may_approve(&subject("eve", Role::Admin)));
        assert!(Protection::Locked.may_approve(&subject("root", Role::Owner)));
        assert!(!Protection::None.may_approve(&subject("ada", Role::Member)));
    }
}
