//! The `kube` example, run as a program: without a cluster, and on the tests' own.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ServiceAccount;
use kiops_core::build::{BuildMetadata, BuildOutput, BuildSpec};
use kiops_core::event::Repository;
use kiops_core::name::{
    BranchName, BuildId, CommitId, ComponentName, Digest, GitRef, ImageRef, ProviderName, ServiceName, Tag,
};
use kube::Api;
use tempfile::TempDir;

use crate::cluster::{TestNamespace, cluster};
use crate::node_image;

const PASSWORD: &str = "hunter22-not-for-any-log";

/// The program, which Cargo builds beside this test.
fn program() -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.ancestors().nth(2).unwrap().join("examples/kube");
    assert!(path.is_file(), "build it first: cargo build -p kiops-examples --example kube");
    let mut command = Command::new(path);
    command.env("PASSWORD", PASSWORD);
    command
}

/// What it printed, of one that ended with 0.
#[track_caller]
fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it said was wrong, of one that ended with 1.
#[track_caller]
fn error(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&output.stdout));
    assert!(said.starts_with("error: ") && said.lines().count() == 1 && !said.contains(PASSWORD), "{said}");
    said
}

fn image(name: &str) -> String {
    format!("{name}@{}", Digest::of(name.as_bytes()))
}

/// A folder for the arguments' files, and a namespace.
struct Site {
    folder: TempDir,
    namespace: TestNamespace,
}

impl Site {
    async fn open() -> Option<Self> {
        let cluster = cluster().await?;
        let namespace = cluster.namespace().await;
        let accounts = Api::<ServiceAccount>::namespaced(cluster.client.clone(), &namespace.name);
        // Without it there are no pods.
        while accounts.get_opt("default").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(Self { folder: tempfile::tempdir().unwrap(), namespace })
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Words between spaces; `NS` stands for the namespace.
    fn run(&self, words: &str) -> Output {
        let words = words.split(' ').map(|word| if word == "NS" { &self.namespace.name } else { word });
        program().current_dir(self.folder.path()).args(words).output().unwrap()
    }

    /// A build of a service of this name, with an executor's image.
    fn build(&self, service: &str, executor: &str) {
        let commit = CommitId::parse("abc123def0".repeat(4)).unwrap();
        let spec = BuildSpec {
            build: BuildId::derive([service, &self.namespace.name]),
            service: ServiceName::parse(service).unwrap(),
            component: ComponentName::default(),
            provider: ProviderName::parse("gitlab").unwrap(),
            repository: Repository { id: None, path: format!("team/{service}") },
            git_ref: GitRef::Branch(BranchName::parse("main").unwrap()),
            context: String::new(),
            dockerfile: "Dockerfile".into(),
            target: None,
            build_args: Default::default(),
            secrets: Default::default(),
            labels: Default::default(),
            metadata: BuildMetadata {
                git_repo: format!("team/{service}"),
                git_branch: "main".into(),
                git_revision: commit.to_string(),
                git_committer_username: "ada".into(),
                git_commit_message: "first".into(),
                git_commit_timestamp: "2026-01-02T03:04:05Z".into(),
                git_commit_url: String::new(),
            },
            output: BuildOutput::Push {
                image: ImageRef::parse(&format!("registry.local/team/{service}:x")).unwrap().name,
                tag: Tag::parse("abc123d").unwrap(),
            },
            commit,
        };
        self.file("spec.json", &serde_json::to_string(&spec).unwrap());
        let kaniko = serde_json::json!({"image": executor, "requests": {"cpu": "10m", "memory": "8Mi"}});
        self.file("kaniko.json", &kaniko.to_string());
    }
}

const BUILD: &str =
    "--builds NS --settings kaniko.json build spec.json --clone https://git.example.com/team/shop.git";

#[test]
fn a_workload_is_rendered_without_any_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let workload = r#"{"replicas": 2, "containers": [{"name": "web", "port": 80, "ingress_path": "/"}]}"#;
    std::fs::write(folder.path().join("shop.json"), workload).unwrap();
    let run = |words: &str| {
        let mut command = program();
        command.env("KUBECONFIG", "/no/such/file").current_dir(folder.path()).args(words.split(' '));
        command.output().unwrap()
    };
    let render = format!("render --service shop --workload shop.json --image web={}", image("nginx:alpine"));
    let manifests = printed(&run(&render));
    for words in
        ["kind: Deployment", "kind: Service", "kind: Ingress", "namespace: shop", &image("nginx:alpine")]
    {
        assert!(manifests.contains(words), "{manifests}");
    }
    assert_eq!(printed(&run(&render)), manifests);
    assert!(printed(&run(&format!("{render} --namespace dev"))).contains("namespace: dev"));

    let missing = render.replace("shop.json", "none.json");
    assert!(error(&run(&missing)).contains("none.json"));
    assert!(error(&run(&render.replace("web=", "api="))).contains("no image for container `web`"));
    let unpinned = run("render --service shop --workload shop.json --image web=nginx:alpine");
    assert_eq!(unpinned.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unpinned.stderr).contains("add @sha256:"));
    // Everything else says what it lacks.
    assert!(error(&run("runs")).contains("/no/such/file"));
}

#[tokio::test]
async fn a_pull_secret_is_checked_made_and_rotated_in_the_words_that_people_know() {
    let Some(site) = Site::open().await else { return };
    let with =
        "--service shop --namespace NS --host harbor.example.com --username robot$ci --password-env PASSWORD";
    let check = || site.run("check-secret --service shop --namespace NS");
    assert_eq!(printed(&check()), "Secret not found\n");
    assert_eq!(printed(&site.run(&format!("create-secret {with}"))), "Secret created successfully\n");
    assert_eq!(printed(&site.run(&format!("create-secret {with}"))), "Secret already exists\n");
    assert_eq!(printed(&site.run(&format!("rotate-secret {with}"))), "Secret rotated successfully\n");
    assert_eq!(printed(&check()), "Secret already exists\n");
    let unset = site.run(&format!("rotate-secret {}", with.replace("PASSWORD", "KIOPS_UNSET")));
    assert!(error(&unset).contains("KIOPS_UNSET"));
    assert!(error(&site.run("create-secret --service shop --namespace NS")).contains("say --host"));
    let nowhere = site.run(&format!("create-secret {}", with.replace("NS", "kiops-tests-not-there")));
    assert!(error(&nowhere).contains("Namespace not found: kiops-tests-not-there"));
}

#[tokio::test]
async fn a_workload_is_deployed_rolled_back_and_removed() {
    let Some(site) = Site::open().await else { return };
    site.file("shop.json", r#"{"replicas": 0, "containers": [{"name": "web", "port": 80}]}"#);
    let place = "--service shop --namespace NS --workload shop.json";
    let deploy = |name: &str| site.run(&format!("deploy {place} --wait --image web={}", image(name)));
    let status = || printed(&site.run(&format!("status {place}")));
    assert_eq!(status(), "nothing was deployed\n");
    let first = printed(&deploy("nginx:1"));
    assert!(first.starts_with("revision 1\n") && first.ends_with("complete\n"), "{first}");
    assert!(printed(&deploy("nginx:2")).starts_with("revision 2\n"));
    let back = printed(&site.run(&format!("rollback {place} --wait 1")));
    assert!(back.starts_with("revision 3\n") && back.ends_with("complete\n"), "{back}");
    let shown = status();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "revision 3: complete", "{shown}");
    assert_eq!(lines.len(), 4, "{shown}");
    assert!(lines[1].starts_with("3 ") && lines[1].ends_with(&image("nginx:1")), "{shown}");
    assert!(lines[2].starts_with("2 ") && lines[2].ends_with(&image("nginx:2")), "{shown}");
    assert!(error(&site.run(&format!("rollback {place} 9"))).contains('9'));
    printed(&site.run(&format!("remove {place}")));
    assert_eq!(status(), "nothing was deployed\n");
}

#[tokio::test]
async fn a_build_that_waits_says_for_what_until_it_is_canceled_and_forgotten() {
    let Some(site) = Site::open().await else { return };
    site.build("shop", "registry.local/no-such-executor:1");
    let run = printed(&site.run(BUILD)).trim().to_owned();
    assert_eq!(printed(&site.run(BUILD)).trim(), run, "the same specification is the same run");
    assert_eq!(printed(&site.run("--builds NS runs")), format!("{run} running\n"));
    let begun = Instant::now();
    loop {
        let log = printed(&site.run(&format!("--builds NS logs {run}")));
        if log.contains("the executor's image cannot be pulled") && log.contains("no-such-executor") {
            assert!(log.starts_with("[setup] "), "{log}");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{log}");
    }
    assert!(error(&site.run(&format!("--builds NS forget {run}"))).contains("cancel it first"));
    printed(&site.run(&format!("--builds NS cancel {run}")));
    assert!(error(&site.run(&format!("--builds NS logs --follow {run}"))).contains("it was canceled"));
    assert_eq!(printed(&site.run("--builds NS runs")), format!("{run} finished\n"));
    printed(&site.run(&format!("--builds NS forget {run}")));
    assert_eq!(printed(&site.run("--builds NS runs")), "");
    for call in ["logs", "cancel", "forget"] {
        let said = error(&site.run(&format!("--builds NS {call} {run}")));
        assert!(said.contains(&format!("{run} is no run of `kiops` in namespace")), "{said}");
    }
}

#[tokio::test]
async fn a_build_is_followed_to_its_digest_or_to_what_went_wrong() {
    let Some(site) = Site::open().await else { return };
    let follow = format!("{BUILD} --follow --git-username oauth2 --git-password-env PASSWORD");
    site.build("empty", "registry.local/busybox:1");
    let said = error(&site.run(&follow));
    assert!(said.contains("its container did not start") && said.contains("executor's settings"), "{said}");

    let Some(scripts) = node_image::scripts() else { return };
    let digest = Digest::of(b"built");
    let log = r#"{"level":"info","msg":"Retrieving image manifest registry.local/base:1","time":"2026-01-02T03:04:05Z"}"#;
    let script = format!(
        "#!/bin/busybox sh\necho '{log}'\necho \"token $GIT_PASSWORD\"\nprintf %s {digest} >/dev/termination-log\n"
    );
    let root = site.folder.path().join("root");
    std::fs::create_dir_all(root.join("kaniko")).unwrap();
    std::fs::create_dir_all(root.join("bin")).unwrap();
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| std::path::Path::new(path).exists());
    std::fs::copy(busybox.expect("busybox, of which the node's images are made"), root.join("bin/busybox"))
        .unwrap();
    let executor = root.join("kaniko/executor");
    std::fs::write(&executor, &script).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&executor, std::fs::Permissions::from_mode(0o755)).unwrap();
    let name =
        format!("registry.local/kiops-tests/example:{}", &Digest::of(script.as_bytes()).to_string()[7..19]);
    node_image::load(&scripts, &name, &root);
    site.build("shop", &name);
    let said = printed(&site.run(&follow));
    assert!(said.contains("[build] token ***\n"), "{said}");
    assert!(said.ends_with(&format!("succeeded: digest {digest}\n")), "{said}");
    // It is over, and can be read again.
    let run = said.lines().next().unwrap();
    let again = printed(&site.run(&format!("--builds NS logs {run}")));
    assert!(again.ends_with(&format!("succeeded: digest {digest}\n")), "{again}");
}

#[tokio::test]
async fn what_builds_may_reach_is_printed_and_what_they_would_wait_for_is_refused() {
    let Some(site) = Site::open().await else { return };
    let policy = printed(&site.run("--builds NS render-network"));
    for words in ["kind: NetworkPolicy", "name: kiops-runs-kiops", "169.254.0.0/16", "port: 443"] {
        assert!(policy.contains(words), "{policy}");
    }
    site.file("open.json", r#""open""#);
    let open = printed(&site.run("--builds NS --network open.json render-network"));
    assert_eq!(open, "# no policy: the network is open\n");
    site.build("shop", "registry.local/no-such-executor:1");
    site.file("ssh.json", r#"{"restricted": {"ports": [22]}}"#);
    let said = error(&site.run(&format!("--network ssh.json {BUILD}")));
    assert!(said.contains("port 443, at which git.example.com is") && said.contains("add 443"), "{said}");
    site.file("wrong.json", r#"{"restricted": {"denied": ["10.0.0.1/8"]}}"#);
    let said = error(&site.run(&format!("--network wrong.json {BUILD}")));
    assert!(said.contains("wrong.json") && said.contains("write 10.0.0.0/8"), "{said}");
    assert_eq!(printed(&site.run("--builds NS runs")), "");
}

#[tokio::test]
async fn a_build_with_tekton_is_rendered_and_the_doctor_looks_for_tekton_there() {
    let Some(site) = Site::open().await else { return };
    site.build("shop", "registry.local/busybox:1");
    let render =
        "--builds NS --executor tekton render-build spec.json --clone https://git.example.com/team/shop.git";
    let rendered = printed(&site.run(render));
    for words in
        ["kind: PipelineRun", "apiVersion: tekton.dev/v1", "name: setup-fetch", "name: build", "name: push"]
    {
        assert!(rendered.contains(words), "{rendered}");
    }
    // Whether the cluster has it now is for other tests to say.
    let examined = site.run("--builds NS --executor tekton doctor");
    let said = String::from_utf8(examined.stdout).unwrap();
    assert!(
        said.contains("Tekton is installed") || said.contains("problem: Tekton is not installed"),
        "{said}"
    );
}

#[tokio::test]
async fn the_doctor_says_what_will_not_work_and_its_code_is_one_then() {
    let Some(site) = Site::open().await else { return };
    let fine = printed(&site.run("--builds NS doctor"));
    assert!(fine.contains("good: every right is there\n"), "{fine}");
    // The tests' cluster enforces none.
    assert!(fine.contains("warning: nothing that is known to enforce network policies"), "{fine}");
    let missing = site.run("--builds NS doctor NS kiops-tests-not-there");
    assert!(error(&missing).contains("1 of what was looked at will not work"));
    let said = String::from_utf8(missing.stdout).unwrap();
    assert!(said.contains("problem: Namespace not found: kiops-tests-not-there"), "{said}");
    site.file("far.json", r#"{"current-context": "far", "contexts": [{"name": "far", "context": {"cluster": "far", "user": "far"}}],
        "clusters": [{"name": "far", "cluster": {"server": "http://127.0.0.1:9"}}], "users": [{"name": "far", "user": {}}]}"#);
    let far = site.run("--kubeconfig far.json --context far --deadline 1 doctor");
    error(&far);
    let said = String::from_utf8(far.stdout).unwrap();
    assert!(said.starts_with("problem: cluster `far` is not connected"), "{said}");
}
