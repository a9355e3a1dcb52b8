//! The calls, one subcommand each.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use kiops_core::event::Repository;
use kiops_core::name::{BranchName, CommitId, GitRef, RepoId};
use kiops_core::provider::{
    Admin, CommitStatus, FileChange, GitProvider, HookEvents, HookSecret, Hooks, Import, NewCommit,
    NewMergeRequest, NewRepository, NewUser, Page, Search, StatusMergeRequest, StatusState, StatusSubject,
    Statuses, TreeQuery, Visibility, WantedHook, Writes,
};
use kiops_core::{Error, Result, stream};
use serde::Serialize;
use serde_json::json;

use crate::connect::secret_from;
use crate::deploy::Deploy;

/// What is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Call {
    /// Repositories, a page at a time.
    Repositories(List),
    /// Branches, a page at a time.
    Branches {
        #[command(flatten)]
        repository: Named,
        #[command(flatten)]
        list: List,
    },
    /// Every branch and tag with its commit.
    Heads(Named),
    /// The commit that a ref (`refs/heads/main`) points at.
    Head {
        #[command(flatten)]
        repository: Named,
        git_ref: GitRefText,
    },
    /// A commit's particulars.
    Commit(At),
    /// What differs between two commits.
    Compare {
        #[command(flatten)]
        repository: Named,
        from: CommitId,
        to: CommitId,
    },
    /// The entries of a folder.
    Tree {
        #[command(flatten)]
        at: At,
        /// The folder; empty is the root.
        #[arg(default_value = "")]
        folder: String,
        /// Everything below it, too.
        #[arg(long)]
        recursive: bool,
        /// At most this many entries.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// A file's content.
    File {
        #[command(flatten)]
        at: At,
        path: String,
        /// At most this many bytes.
        #[arg(long, default_value_t = 16 << 20)]
        max: usize,
    },
    /// The whole tree as a tar file.
    Archive {
        #[command(flatten)]
        at: At,
        /// Where to write it.
        #[arg(long)]
        out: PathBuf,
    },
    /// What a clone needs; its password is not printed.
    CloneAccess(At),
    /// Webhooks.
    #[command(subcommand)]
    Hook(Hook),
    /// Sets a commit's status.
    Status {
        #[command(flatten)]
        at: At,
        #[arg(long)]
        state: StateText,
        #[arg(long, default_value = "kiops")]
        context: String,
        #[arg(long, default_value = "")]
        description: String,
        #[arg(long)]
        target_url: Option<String>,
        /// The branch or tag, as a full ref.
        #[arg(long = "ref")]
        git_ref: Option<GitRefText>,
        /// The merge request that the commit belongs to.
        #[arg(long)]
        merge_request: Option<u64>,
        /// The id of the fork that it comes from.
        #[arg(long)]
        fork_id: Option<RepoId>,
    },
    /// Writes a comment on a merge request, or replaces the one of the same topic.
    Comment {
        #[command(flatten)]
        repository: Named,
        number: u64,
        text: String,
        #[arg(long, default_value = "note")]
        topic: String,
    },
    /// Whether a failed build blocks the merge.
    MergeGate {
        #[command(flatten)]
        repository: Named,
        branch: String,
    },
    /// Who repositories can belong to.
    Owners(List),
    /// Makes a repository.
    CreateRepository {
        owner: String,
        name: String,
        #[arg(long, default_value = "main")]
        branch: BranchName,
        #[arg(long)]
        public: bool,
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Puts one commit on a branch.
    CommitFiles {
        #[command(flatten)]
        repository: Named,
        branch: BranchName,
        #[arg(long)]
        message: String,
        /// Where the branch is, or starts; left out for the first commit of a repository.
        #[arg(long)]
        parent: Option<CommitId>,
        /// A file to write: its path in the repository, `=`, and where its content is.
        #[arg(long = "file")]
        files: Vec<String>,
        /// A file to remove.
        #[arg(long = "remove")]
        removed: Vec<String>,
    },
    /// Opens a merge request, or finds the one that is open.
    OpenMergeRequest {
        #[command(flatten)]
        repository: Named,
        source: BranchName,
        target: BranchName,
        #[arg(long)]
        title: String,
        #[arg(long, default_value = "")]
        description: String,
    },
    /// The newest merge request from one branch to another, whatever became of it.
    MergeRequest {
        #[command(flatten)]
        repository: Named,
        source: BranchName,
        target: BranchName,
    },
    /// Closes a merge request without merging it.
    CloseMergeRequest {
        #[command(flatten)]
        repository: Named,
        number: u64,
    },
    /// Sets a container's image in a file of a repository, by a commit or a merge request, and says what has become of it.
    Deploy(Deploy),
    /// Imports a repository from another host.
    Import {
        /// Where it lies.
        from: String,
        owner: String,
        name: String,
        /// The environment variable that holds the other host's token.
        #[arg(long)]
        from_token_env: Option<String>,
    },
    /// How far an import is.
    ImportProgress(Named),
    /// What the token may do, and what is missing.
    Scopes,
    /// Makes accounts: `login,name,email` each; the host sends a link to choose a password.
    CreateUsers { users: Vec<String> },
}

/// Webhooks.
#[derive(Debug, Subcommand)]
pub(crate) enum Hook {
    /// Makes exactly one hook with this address stand.
    Ensure {
        #[command(flatten)]
        repository: Named,
        address: String,
        /// The environment variable that holds its secret.
        #[arg(long)]
        secret_env: String,
        /// The secret is a Standard Webhooks key.
        #[arg(long)]
        signing: bool,
        /// What it sends, besides pushes.
        #[arg(long, value_enum)]
        event: Vec<EventText>,
    },
    /// The hook with this address and its last deliveries.
    State {
        #[command(flatten)]
        repository: Named,
        address: String,
    },
    /// Lets the host send a delivery now.
    Test {
        #[command(flatten)]
        repository: Named,
        address: String,
    },
    /// Removes every hook with this address.
    Remove {
        #[command(flatten)]
        repository: Named,
        address: String,
    },
}

/// A repository by its path, or by its id.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its path.
    repository: String,
    /// Its id at the host, which decides where it is given.
    #[arg(long)]
    id: Option<RepoId>,
}

/// A commit of a repository.
#[derive(Debug, Args)]
pub(crate) struct At {
    #[command(flatten)]
    repository: Named,
    commit: CommitId,
}

/// A page of a list.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only what contains this text.
    #[arg(long, default_value = "")]
    search: String,
    /// Where to go on: `next` of the page before.
    #[arg(long)]
    after: Option<String>,
    /// At most this many; 0 is the host's own limit.
    #[arg(long, default_value_t = 0)]
    limit: usize,
}

/// A full ref.
#[derive(Debug, Clone)]
pub(crate) struct GitRefText(GitRef);

impl std::str::FromStr for GitRefText {
    type Err = kiops_core::name::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        GitRef::parse(text).map(Self)
    }
}

/// A state of a status.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum StateText {
    Pending,
    Running,
    Success,
    Failed,
    Canceled,
    Skipped,
}

/// What a hook may send besides pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventText {
    Tags,
    MergeRequests,
    Pipelines,
}

impl Call {
    /// Makes the call and prints what it gives.
    pub(crate) async fn make(self, asked: Arc<dyn GitProvider>) -> Result<()> {
        let provider = asked.as_ref();
        match self {
            Self::Repositories(list) => print_page(provider.repositories(&list.search()).await?),
            Self::Branches { repository, list } => {
                print_page(provider.branches(&repository.known(), &list.search()).await?)
            }
            Self::Heads(repository) => print(&provider.heads(&repository.known()).await?),
            Self::Head { repository, git_ref } => {
                print(&provider.head(&repository.known(), &git_ref.0).await?)
            }
            Self::Commit(at) => print(&provider.commit(&at.repository.known(), &at.commit).await?),
            Self::Compare { repository, from, to } => {
                print(&provider.compare(&repository.known(), &from, &to).await?)
            }
            Self::Tree { at, folder, recursive, limit } => {
                let query = TreeQuery { folder, recursive, limit };
                print(&provider.tree(&at.repository.known(), &at.commit, &query).await?)
            }
            Self::File { at, path, max } => {
                let content = provider.file(&at.repository.known(), &at.commit, &path, max).await?;
                let content = content.ok_or_else(|| {
                    Error::not_found("read file", format!("there is no file `{}`", path.escape_debug()))
                })?;
                std::io::stdout().write_all(&content).map_err(|error| broken("write file", &error))
            }
            Self::Archive { at, out } => {
                let mut archive = provider.archive(&at.repository.known(), &at.commit).await?;
                let failed = |error: std::io::Error| broken("write archive", &error);
                let mut file = std::fs::File::create_new(&out).map_err(failed)?;
                while let Some(chunk) = stream::next(&mut archive).await {
                    file.write_all(&chunk?).map_err(failed)?;
                }
                file.sync_all().map_err(failed)
            }
            Self::CloneAccess(at) => {
                let access = provider.clone_access(&at.repository.known(), &at.commit).await?;
                print(&json!({
                    "url": access.url,
                    "username": access.credential.map(|credential| credential.username),
                    "expires_at": access.expires_at,
                }))
            }
            Self::Hook(call) => call.make(hooks(provider)?).await,
            Self::Status { at, state, context, description, target_url, git_ref, merge_request, fork_id } => {
                let merge_request = merge_request.map(|number| StatusMergeRequest {
                    number,
                    fork: fork_id.map(|id| Repository { id: Some(id), path: String::new() }),
                });
                let subject = StatusSubject {
                    repository: at.repository.known(),
                    commit: at.commit,
                    git_ref: git_ref.map(|git_ref| git_ref.0),
                    merge_request,
                };
                let status = CommitStatus { state: state.into(), context, description, target_url };
                print(&statuses(provider)?.set_status(&subject, &status).await?)
            }
            Self::Comment { repository, number, text, topic } => {
                statuses(provider)?.comment(&repository.known(), number, &topic, &text).await
            }
            Self::MergeGate { repository, branch } => {
                print(&statuses(provider)?.merge_gate(&repository.known(), &branch).await?)
            }
            Self::Owners(list) => print_page(writes(provider)?.owners(&list.search()).await?),
            Self::CreateRepository { owner, name, branch, public, description } => {
                let visibility = if public { Visibility::Public } else { Visibility::Private };
                let new = NewRepository { owner, name, default_branch: branch, visibility, description };
                print(&writes(provider)?.create_repository(&new).await?)
            }
            Self::CommitFiles { repository, branch, message, parent, files, removed } => {
                let mut changes = files.iter().map(|file| change(file)).collect::<Result<Vec<_>>>()?;
                changes.extend(removed.into_iter().map(|path| FileChange { path, content: None }));
                let commit = NewCommit { branch, parent, message, files: changes };
                print(&writes(provider)?.commit_files(&repository.known(), &commit).await?)
            }
            Self::OpenMergeRequest { repository, source, target, title, description } => {
                let new = NewMergeRequest { source, target, title, description };
                print(&writes(provider)?.open_merge_request(&repository.known(), &new).await?)
            }
            Self::MergeRequest { repository, source, target } => {
                print(&writes(provider)?.merge_request(&repository.known(), &source, &target).await?)
            }
            Self::CloseMergeRequest { repository, number } => {
                writes(provider)?.close_merge_request(&repository.known(), number).await?;
                print(&json!({ "closed": number }))
            }
            Self::Deploy(call) => call.make(asked).await,
            Self::Import { from, owner, name, from_token_env } => {
                let token = from_token_env.as_deref().map(secret_from).transpose()?;
                let import = Import { url: from, token, owner, name };
                print(&writes(provider)?.import_repository(&import).await?)
            }
            Self::ImportProgress(repository) => {
                print(&writes(provider)?.import_progress(&repository.known()).await?)
            }
            Self::Scopes => print(&admin(provider)?.scopes().await?),
            Self::CreateUsers { users } => create_users(admin(provider)?, &users).await,
        }
    }
}

impl Hook {
    async fn make(self, hooks: &dyn Hooks) -> Result<()> {
        match self {
            Self::Ensure { repository, address, secret_env, signing, event } => {
                let secret = secret_from(&secret_env)?;
                let secret = if signing { HookSecret::Signing(secret) } else { HookSecret::Shared(secret) };
                let events = HookEvents {
                    push: true,
                    tags: event.contains(&EventText::Tags),
                    merge_requests: event.contains(&EventText::MergeRequests),
                    pipelines: event.contains(&EventText::Pipelines),
                };
                let wanted = WantedHook { url: address, secret, events, verify_tls: true };
                print(&hooks.ensure(&repository.known(), &wanted).await?)
            }
            Self::State { repository, address } => print(&hooks.state(&repository.known(), &address).await?),
            Self::Test { repository, address } => hooks.test(&repository.known(), &address).await,
            Self::Remove { repository, address } => {
                print(&hooks.remove(&repository.known(), &address).await?)
            }
        }
    }
}

/// One result a line of input; the call fails where one of them did.
async fn create_users(admin: &dyn Admin, users: &[String]) -> Result<()> {
    let new = users.iter().map(|text| user(text)).collect::<Result<Vec<_>>>()?;
    let results = admin.create_users(&new).await?;
    let failed = results.iter().filter(|made| made.result.is_err()).count();
    let shown = results.iter().map(|made| match &made.result {
        Ok(account) => json!({ "login": made.login, "id": account.id, "created": account.created }),
        Err(error) => json!({ "login": made.login, "error": error.to_string() }),
    });
    print(&shown.collect::<Vec<_>>())?;
    match failed {
        0 => Ok(()),
        n => Err(Error::invalid("create users", format!("{n} of {} accounts were not made", results.len()))),
    }
}

fn user(text: &str) -> Result<NewUser> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [login, name, email] = parts[..] else {
        return Err(Error::invalid("read user", format!("`{text}` is not `login,name,email`")));
    };
    Ok(NewUser { login: login.into(), name: name.into(), email: email.into(), password: None })
}

fn change(text: &str) -> Result<FileChange> {
    let (path, source) = text
        .split_once('=')
        .ok_or_else(|| Error::invalid("read file", format!("`{text}` is not `path=file`")))?;
    let content = std::fs::read(source).map_err(|error| {
        Error::invalid("read file", format!("`{source}` cannot be read")).with_source(error)
    })?;
    Ok(FileChange { path: path.to_owned(), content: Some(Bytes::from(content)) })
}

impl Named {
    pub(crate) fn known(&self) -> Repository {
        Repository { id: self.id.clone(), path: self.repository.clone() }
    }
}

impl List {
    fn search(&self) -> Search {
        let search = Search::text(&self.search).limit(self.limit);
        match &self.after {
            Some(after) => search.after(after),
            None => search,
        }
    }
}

impl From<StateText> for StatusState {
    fn from(text: StateText) -> Self {
        match text {
            StateText::Pending => Self::Pending,
            StateText::Running => Self::Running,
            StateText::Success => Self::Success,
            StateText::Failed => Self::Failed,
            StateText::Canceled => Self::Canceled,
            StateText::Skipped => Self::Skipped,
        }
    }
}

fn hooks(provider: &dyn GitProvider) -> Result<&dyn Hooks> {
    provider.hooks().ok_or_else(|| lacks(provider, "webhooks that can be managed"))
}

fn statuses(provider: &dyn GitProvider) -> Result<&dyn Statuses> {
    provider.statuses().ok_or_else(|| lacks(provider, "commit statuses"))
}

fn writes(provider: &dyn GitProvider) -> Result<&dyn Writes> {
    provider.writes().ok_or_else(|| lacks(provider, "an interface to write"))
}

fn admin(provider: &dyn GitProvider) -> Result<&dyn Admin> {
    provider.admin().ok_or_else(|| lacks(provider, "accounts that can be looked after"))
}

fn lacks(provider: &dyn GitProvider, what: &str) -> Error {
    Error::unsupported("call", format!("`{}` has no {what}", provider.name()))
}

fn print_page<T: Serialize>(page: Page<T>) -> Result<()> {
    print(&json!({ "items": page.items, "next": page.next }))
}

pub(crate) fn print(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::internal("print", "the answer cannot be written").with_source(error))?;
    writeln!(std::io::stdout(), "{text}").map_err(|error| broken("print", &error))
}

fn broken(operation: &'static str, error: &std::io::Error) -> Error {
    Error::unavailable(operation, error.to_string())
}
