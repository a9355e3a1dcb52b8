//! Releases as commits, on a Git host in memory that moves a branch only from where the caller saw it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use kiops_core::event::Repository;
use kiops_core::name::{
    BranchName, CommitId, ContainerName, DnsLabel, EnvironmentName, GitRef, ProviderName, ServiceName,
};
use kiops_core::provider::{
    CloneAccess, Commit, Comparison, FileChange, GitProvider, Head, Import, ImportProgress, MergeRequestInfo,
    NewCommit, NewMergeRequest, NewRepository, Owner, Page, RepositoryInfo, Search, TreeEntry, TreeQuery,
    Writes,
};
use kiops_core::release::{DeployTarget, Deployer, Revision, RolloutStatus};
use kiops_core::service::{GitFile, Target};
use kiops_core::stream::ByteStream;
use kiops_core::testing::conformance::deployer::DeployBench;
use kiops_core::testing::conformance::{self, Subject};
use kiops_core::{Error, ErrorKind, Result};
use kiops_kube::{GitOps, GitOpsConfig};

use crate::common::{image, release, request_of};

/// What a file that nobody committed says.
const MANIFEST: &str = "# the site\nspec:\n  containers:\n  - name: web\n    image: old:1\n";

type Files = BTreeMap<String, Bytes>;

/// One branch of one repository. Files below `apps/` are there from the start.
#[derive(Debug, Default)]
struct Host {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    commits: HashMap<CommitId, Files>,
    log: Vec<(CommitId, String)>,
    down: bool,
    /// Answers the next commit with a fault after it was made.
    deaf: bool,
}

fn commit_id(n: usize) -> CommitId {
    CommitId::parse(format!("{:040x}", n + 1)).unwrap()
}

impl State {
    fn head(&self) -> CommitId {
        commit_id(self.log.len())
    }

    fn files(&self) -> Files {
        self.commits.get(&self.head()).cloned().unwrap_or_default()
    }

    fn up(&self) -> Result<()> {
        if self.down { Err(Error::unavailable("ask host", "it is down")) } else { Ok(()) }
    }

    fn commit(&mut self, changes: &[FileChange], message: &str) -> CommitId {
        let mut files = self.files();
        for change in changes {
            match &change.content {
                Some(content) => drop(files.insert(change.path.clone(), content.clone())),
                None => drop(files.remove(&change.path)),
            }
        }
        self.log.push((commit_id(self.log.len() + 1), message.to_owned()));
        let head = self.head();
        self.commits.insert(head.clone(), files);
        head
    }
}

impl Host {
    fn text(&self, path: &str) -> String {
        let found = self.state.lock().unwrap().files().get(path).cloned();
        found.map_or_else(|| MANIFEST.to_owned(), |bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn by_hand(&self, path: &str, text: &str) {
        let change = FileChange { path: path.to_owned(), content: Some(Bytes::from(text.to_owned())) };
        self.state.lock().unwrap().commit(&[change], "by hand");
    }

    fn messages(&self) -> Vec<String> {
        self.state.lock().unwrap().log.iter().map(|(_, message)| message.clone()).collect()
    }
}

fn never<T>() -> Result<T> {
    Err(Error::unsupported("ask host", "not asked in these tests"))
}

#[async_trait]
impl GitProvider for Host {
    fn name(&self) -> ProviderName {
        ProviderName::parse("host").unwrap()
    }
    async fn repositories(&self, _: &Search) -> Result<Page<RepositoryInfo>> {
        never()
    }
    async fn branches(&self, _: &Repository, _: &Search) -> Result<Page<Head>> {
        never()
    }
    async fn heads(&self, _: &Repository) -> Result<Vec<Head>> {
        never()
    }
    async fn head(&self, _: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        let state = self.state.lock().unwrap();
        state.up()?;
        Ok((git_ref.to_string() == "refs/heads/main").then(|| state.head()))
    }
    async fn commit(&self, _: &Repository, _: &CommitId) -> Result<Option<Commit>> {
        never()
    }
    async fn compare(&self, _: &Repository, _: &CommitId, _: &CommitId) -> Result<Comparison> {
        never()
    }
    async fn tree(&self, _: &Repository, _: &CommitId, _: &TreeQuery) -> Result<Vec<TreeEntry>> {
        never()
    }
    async fn file(&self, _: &Repository, commit: &CommitId, path: &str, _: usize) -> Result<Option<Bytes>> {
        let state = self.state.lock().unwrap();
        state.up()?;
        let found = state.commits.get(commit).and_then(|files| files.get(path)).cloned();
        Ok(found.or_else(|| path.starts_with("apps/").then(|| Bytes::from(MANIFEST))))
    }
    async fn archive(&self, _: &Repository, _: &CommitId) -> Result<ByteStream> {
        never()
    }
    async fn clone_access(&self, _: &Repository, _: &CommitId) -> Result<CloneAccess> {
        never()
    }
    fn writes(&self) -> Option<&dyn Writes> {
        Some(self)
    }
}

#[async_trait]
impl Writes for Host {
    async fn owners(&self, _: &Search) -> Result<Page<Owner>> {
        never()
    }
    async fn create_repository(&self, _: &NewRepository) -> Result<RepositoryInfo> {
        never()
    }
    async fn commit_files(&self, _: &Repository, commit: &NewCommit) -> Result<CommitId> {
        // Others get a turn between reading and writing.
        tokio::task::yield_now().await;
        let mut state = self.state.lock().unwrap();
        state.up()?;
        if commit.parent != Some(state.head()) {
            return Err(Error::conflict("commit", "the branch has moved"));
        }
        let made = state.commit(&commit.files, &commit.message);
        if std::mem::take(&mut state.deaf) {
            return Err(Error::unavailable("commit", "the answer was lost"));
        }
        Ok(made)
    }
    async fn open_merge_request(&self, _: &Repository, _: &NewMergeRequest) -> Result<MergeRequestInfo> {
        never()
    }
    async fn import_repository(&self, _: &Import) -> Result<RepositoryInfo> {
        never()
    }
    async fn import_progress(&self, _: &Repository) -> Result<ImportProgress> {
        never()
    }
}

fn target(word: &str) -> DeployTarget {
    DeployTarget {
        service: ServiceName::parse(format!("s{word}")).unwrap(),
        component: Default::default(),
        environment: EnvironmentName::parse("dev").unwrap(),
        namespace: DnsLabel::parse("shop").unwrap(),
        target: Target::GitFile(GitFile {
            provider: ProviderName::parse("host").unwrap(),
            repository: Repository { id: None, path: "ops/clusters".into() },
            branch: BranchName::parse("main").unwrap(),
            path: format!("apps/{word}.yaml"),
            container: ContainerName::parse("web").unwrap(),
        }),
        preview: None,
    }
}

fn gitops(host: &Arc<Host>) -> GitOps {
    GitOps::new(GitOpsConfig::default(), [Arc::clone(host) as Arc<dyn GitProvider>]).unwrap()
}

fn site(id: &str) -> kiops_core::release::DeployRequest {
    request_of(id, &[("web", &format!("reg.example/site:{id}"))])
}

struct Hosts(Mutex<Arc<Host>>);

#[async_trait]
impl Subject<DeployBench> for Hosts {
    async fn open(&self) -> Arc<DeployBench> {
        *self.0.lock().unwrap() = Arc::default();
        self.reopen().await.unwrap()
    }

    async fn reopen(&self) -> Option<Arc<DeployBench>> {
        let host = Arc::clone(&self.0.lock().unwrap());
        let bench = DeployBench::new(Arc::new(gitops(&host)), target);
        let bench = bench.with_refused(|_, request| request.images.clear());
        Some(Arc::new(bench.with_fault(move |on| host.state.lock().unwrap().down = on)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_keep_every_promise_of_a_deployer() {
    conformance::deployer::all(&Hosts(Mutex::default())).await;
}

#[tokio::test]
async fn a_release_is_one_commit_that_changes_the_image_and_nothing_else() {
    let host = Arc::<Host>::default();
    gitops(&host).apply(&target("a"), &site("1.0")).await.unwrap();
    let pinned = image("reg.example/site:1.0").to_string();
    assert_eq!(host.text("apps/a.yaml"), MANIFEST.replace("old:1", &pinned));
    let [message] = &host.messages()[..] else { panic!("one commit: {:?}", host.messages()) };
    assert!(message.starts_with("Deploy sa to dev [skip ci]\n"), "{message}");
    assert!(message.contains(&format!("Kiops-Release: {}", release("1.0"))), "{message}");
}

/// The answer to a commit that was made is lost: the same call finds it.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_not_made_twice() {
    let host = Arc::<Host>::default();
    host.state.lock().unwrap().deaf = true;
    assert_eq!(
        gitops(&host).apply(&target("a"), &site("1")).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(gitops(&host).apply(&target("a"), &site("1")).await.unwrap(), Revision(1));
    assert_eq!(host.messages().len(), 1);
}

#[tokio::test]
async fn what_others_commit_to_the_same_file_is_kept_and_a_changed_image_is_a_failed_rollout() {
    let host = Arc::<Host>::default();
    let (deployer, target) = (gitops(&host), target("a"));
    deployer.apply(&target, &site("1")).await.unwrap();
    let text = host.text("apps/a.yaml");
    host.by_hand("apps/a.yaml", &format!("{text}replicas: 3\n"));
    assert_eq!(deployer.status(&target, Revision(1)).await.unwrap(), RolloutStatus::Complete);
    host.by_hand("apps/a.yaml", &text.replace("site:1", "site:9"));
    let status = deployer.status(&target, Revision(1)).await.unwrap();
    let RolloutStatus::Failed(failure) = status else { panic!("{status:?}") };
    assert!(failure.message.contains("apps/a.yaml has another image"), "{failure}");
    host.by_hand("apps/a.yaml", &format!("{text}replicas: 3\n"));
    deployer.apply(&target, &site("2")).await.unwrap();
    assert!(host.text("apps/a.yaml").ends_with("replicas: 3\n"));
}

#[tokio::test]
async fn a_missing_branch_file_provider_or_container_is_named() {
    let host = Arc::<Host>::default();
    let mut wrong = target("a");
    let Target::GitFile(file) = &mut wrong.target else { unreachable!() };
    file.branch = BranchName::parse("gone").unwrap();
    let refused = async |target: &DeployTarget| gitops(&host).apply(target, &site("1")).await.unwrap_err();
    assert!(refused(&wrong).await.message().contains("there is no branch gone in ops/clusters"));
    let Target::GitFile(file) = &mut wrong.target else { unreachable!() };
    (file.branch, file.path) = (BranchName::parse("main").unwrap(), "missing.yaml".into());
    assert!(refused(&wrong).await.message().contains("missing.yaml is not in main"));
    let Target::GitFile(file) = &mut wrong.target else { unreachable!() };
    file.provider = ProviderName::parse("other").unwrap();
    assert!(refused(&wrong).await.message().contains("provider `other` is not registered"));
    host.by_hand("apps/a.yaml", "containers: []\n");
    let error = refused(&target("a")).await;
    assert!(error.message().starts_with("apps/a.yaml: there is no container `web`"), "{error}");
    assert!(error.remedy().is_some());
    assert_eq!(host.messages(), ["by hand"]);
}

#[tokio::test]
async fn a_history_that_somebody_broke_is_said_to_be_broken_and_stays() {
    let host = Arc::<Host>::default();
    host.by_hand(".kiops/sa/main/dev.json", "{");
    let error = gitops(&host).apply(&target("a"), &site("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(".kiops/sa/main/dev.json"), "{error}");
    assert_eq!(host.messages(), ["by hand"]);
}

#[tokio::test]
async fn a_target_whose_file_is_gone_is_removed_all_the_same() {
    let host = Arc::<Host>::default();
    let (deployer, mut target) = (gitops(&host), target("a"));
    deployer.apply(&target, &site("1")).await.unwrap();
    let Target::GitFile(file) = &mut target.target else { unreachable!() };
    file.path = "gone.yaml".into();
    for _ in 0..2 {
        deployer.remove(&target).await.unwrap();
    }
    assert_eq!(host.messages().len(), 2);
    let Target::GitFile(file) = &mut target.target else { unreachable!() };
    file.branch = BranchName::parse("gone").unwrap();
    deployer.remove(&target).await.unwrap();
}

#[tokio::test]
async fn a_revision_after_which_there_is_none_is_refused() {
    let host = Arc::<Host>::default();
    gitops(&host).apply(&target("a"), &site("1")).await.unwrap();
    let path = ".kiops/sa/main/dev.json";
    let record = host.text(path).replace("\"revision\": 1", &format!("\"revision\": {}", u64::MAX));
    host.by_hand(path, &record);
    let error = gitops(&host).apply(&target("a"), &site("2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
