//! The assembler's reading of a Dockerfile: it is taken, or refused with a reason that can be printed.
#![no_main]

use std::sync::{Arc, LazyLock};

use kiops_core::build::{BuildExecutor as _, BuildMetadata, BuildOutput, BuildSpec};
use kiops_core::event::Repository;
use kiops_core::name::{BranchName, BuildId, CommitId, ComponentName, GitRef, ProviderName, ServiceName};
use kiops_core::testing::{Chaos, fakes::FakeRegistry};
use kiops_registry::assemble::{Assembler, AssemblerConfig};

static ASSEMBLER: LazyLock<Assembler> = LazyLock::new(|| {
    let config = AssemblerConfig::new(std::env::temp_dir().join("kiops-fuzz"));
    Assembler::new(config, Arc::new(FakeRegistry::new(Chaos::none()))).expect("the folder can be made")
});

static SPEC: LazyLock<BuildSpec> = LazyLock::new(|| BuildSpec {
    build: BuildId::derive(["fuzz"]),
    service: ServiceName::parse("site").expect("a name"),
    component: ComponentName::default(),
    provider: ProviderName::parse("plain").expect("a name"),
    repository: Repository { id: None, path: "team/site".into() },
    commit: CommitId::parse("a".repeat(40)).expect("an id"),
    git_ref: GitRef::Branch(BranchName::parse("main").expect("a name")),
    context: String::new(),
    dockerfile: "Dockerfile".into(),
    target: None,
    build_args: [("VERSION".to_owned(), "1.2".to_owned())].into(),
    secrets: Default::default(),
    labels: Default::default(),
    metadata: BuildMetadata::default(),
    output: BuildOutput::Discard,
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(failure) = ASSEMBLER.accepts(&SPEC, kiops_fuzz::text(data)) {
        assert!(!failure.to_string().is_empty());
    }
});
