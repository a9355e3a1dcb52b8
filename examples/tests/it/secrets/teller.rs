//! Adapters of a host that tell what they were given: an executor that prints every secret in every form, a registry whose
//! errors repeat the password, and a Git server that does the same.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use jiff::Timestamp;
use kiops_core::build::{BuildExecutor, BuildSpec};
use kiops_core::image::{ImageAccess, Manifest, Registry, RegistryCredential, TagPage};
use kiops_core::log::Masker;
use kiops_core::log::NewLine;
use kiops_core::name::{Digest, ImageName, ImageRef, RunId, Tag};
use kiops_core::run::{Observed, RunEvent, RunInputs, RunOutcome, RunReport, RunReports};
use kiops_core::stage::{Failure, FailureKind, Stage};
use kiops_core::stream::ByteStream;
use kiops_core::testing::Chaos;
use kiops_core::testing::fakes::FakeRegistry;
use kiops_core::{Error, Result};
use kiops_registry::assemble::Assembler;

use super::words::{Numbers, Word};

/// What was told, before it was masked, and how the inputs were printed.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) raw: Vec<u8>,
    pub(super) printed: String,
}

/// Runs builds of services `told-*` by telling all that it knows, refuses to start those of `refused-*` with as many words, and
/// leaves those of `pushed-*` to an assembler.
#[derive(Debug)]
pub(super) struct Teller {
    /// The secrets, by their value.
    pub(super) words: Arc<BTreeMap<Vec<u8>, Word>>,
    pub(super) assembler: Assembler,
    pub(super) told: Arc<Mutex<Told>>,
    pub(super) runs: Mutex<BTreeMap<RunId, Vec<RunReport>>>,
}

impl Teller {
    fn given(&self, inputs: &RunInputs) -> Vec<Word> {
        let passwords = inputs.pull.iter().chain(&inputs.push).map(|credential| &credential.password);
        let all = inputs.secrets.values().chain(passwords);
        all.map(|secret| self.words[secret.expose()].clone()).collect()
    }
}

fn masker(inputs: &RunInputs) -> Result<Masker> {
    let passwords = inputs.pull.iter().chain(&inputs.push).map(|credential| &credential.password);
    Masker::new(inputs.secrets.values().chain(passwords))
}

#[async_trait]
impl BuildExecutor for Teller {
    fn name(&self) -> &str {
        "teller"
    }

    fn accepts(&self, spec: &BuildSpec, _: &str) -> Result<(), Failure> {
        match ["told-", "refused-", "pushed-"].iter().any(|start| spec.service.as_str().starts_with(start)) {
            true => Ok(()),
            false => {
                Err(Failure::new(Stage::Setup, FailureKind::UnsupportedInstruction, "not for the teller"))
            }
        }
    }

    async fn start(&self, run: &RunId, spec: &BuildSpec, inputs: RunInputs) -> Result<()> {
        {
            let mut told = self.told.lock().unwrap();
            told.printed.push_str(&format!("{inputs:?}\n{inputs:#?}\n{spec:?}\n{spec:#?}\n"));
        }
        if spec.service.as_str().starts_with("pushed-") {
            return self.assembler.start(run, spec, inputs).await;
        }
        let words = self.given(&inputs);
        let masker = masker(&inputs)?;
        let short: String = words.iter().take(4).map(Word::told_at_once).collect();
        if spec.service.as_str().starts_with("refused-") {
            self.told.lock().unwrap().raw.extend_from_slice(short.as_bytes());
            return Err(Error::invalid("start run", masker.mask_text(&format!("no thanks: {short}"))));
        }
        let mut raw: Vec<u8> = words.iter().flat_map(Word::told).collect();
        raw.extend_from_slice(b"the last line");
        let mut reports = vec![
            RunReport { n: 1, event: RunEvent::Stage(Stage::Setup) },
            RunReport { n: 2, event: RunEvent::Stage(Stage::Build) },
        ];
        let mut numbers = Numbers(words.len() as u64);
        let mut stream = masker.stream();
        let mut rest = raw.as_slice();
        let mut n = 2;
        let mut said = |texts: Vec<String>| {
            let lines = texts.into_iter().map(|text| {
                n += 1;
                NewLine { n, at: Timestamp::now(), stage: Stage::Build, text }
            });
            let event = RunEvent::Lines(lines.collect());
            RunReport { n, event }
        };
        while !rest.is_empty() {
            let (chunk, more) = rest.split_at((1 + numbers.below(90)).min(rest.len()));
            rest = more;
            let lines = stream.push(chunk);
            if !lines.is_empty() {
                reports.push(said(lines));
            }
        }
        reports.push(said(stream.finish()));
        self.told.lock().unwrap().printed.push_str(&format!("{masker:?}\n{stream:?}\n"));
        let failure =
            Failure::new(Stage::Build, FailureKind::RunFailed, masker.mask_text(&format!("it said {short}")));
        reports.push(RunReport { n: n + 1, event: RunEvent::Finished(RunOutcome::Failed(failure)) });
        self.told.lock().unwrap().raw.extend_from_slice(&raw);
        self.runs.lock().unwrap().insert(run.clone(), reports);
        Ok(())
    }

    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports> {
        let known = self.runs.lock().unwrap().get(run).cloned();
        let Some(known) = known else { return self.assembler.reports(run, after).await };
        Ok(Box::pin(futures_util::stream::iter(known.into_iter().filter(move |one| one.n > after).map(Ok))))
    }

    async fn cancel(&self, run: &RunId) -> Result<()> {
        self.assembler.cancel(run).await
    }

    async fn observed(&self) -> Result<Vec<Observed>> {
        self.assembler.observed().await
    }

    async fn forget(&self, run: &RunId) -> Result<()> {
        self.runs.lock().unwrap().remove(run);
        self.assembler.forget(run).await
    }
}

/// A registry that wants a password, another one for each access, and says it when it refuses a blob.
#[derive(Debug)]
pub(super) struct Robots {
    host: String,
    inner: FakeRegistry,
    left: Mutex<Vec<Word>>,
    given: Mutex<BTreeMap<String, Vec<Word>>>,
}

impl Robots {
    pub(super) fn new(host: &str, words: Vec<Word>) -> Self {
        let inner = FakeRegistry::new(Chaos::none());
        Self { host: host.into(), inner, left: Mutex::new(words), given: Mutex::default() }
    }
}

#[async_trait]
impl Registry for Robots {
    async fn credential(&self, image: &ImageName, _: ImageAccess) -> Result<Option<RegistryCredential>> {
        let word = self.left.lock().unwrap().pop().unwrap();
        let password = word.secret();
        self.given.lock().unwrap().entry(image.to_string()).or_default().push(word);
        Ok(Some(RegistryCredential { host: self.host.clone(), username: "robot$ci".into(), password }))
    }

    async fn put_blob(&self, image: &ImageName, _: &Digest, _: u64, _: ByteStream) -> Result<()> {
        let said: String =
            self.given.lock().unwrap()[&image.to_string()].iter().map(Word::told_at_once).collect();
        Err(Error::invalid("push blob", format!("the registry answered: who is {said}?"))
            .with_remedy(format!("do not say {said}")))
    }

    async fn check(&self, image: &ImageName) -> Result<()> {
        self.inner.check(image).await
    }

    async fn tags(&self, image: &ImageName, page: &TagPage) -> Result<Vec<Tag>> {
        self.inner.tags(image, page).await
    }

    async fn resolve(&self, image: &ImageRef) -> Result<Option<Digest>> {
        self.inner.resolve(image).await
    }

    async fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest> {
        self.inner.manifest(image, digest).await
    }

    async fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> Result<Digest> {
        self.inner.put_manifest(image, manifest).await
    }

    async fn blob(&self, image: &ImageName, digest: &Digest) -> Result<ByteStream> {
        self.inner.blob(image, digest).await
    }

    async fn blob_size(&self, image: &ImageName, digest: &Digest) -> Result<Option<u64>> {
        self.inner.blob_size(image, digest).await
    }

    async fn mount_blob(&self, image: &ImageName, from: &ImageName, digest: &Digest) -> Result<bool> {
        self.inner.mount_blob(image, from, digest).await
    }

    async fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> Result<()> {
        self.inner.tag(image, tag, digest).await
    }

    async fn delete(&self, image: &ImageRef) -> Result<()> {
        self.inner.delete(image).await
    }
}

/// Serves no repository: answers whoever shows a password with an error of the Git protocol that repeats it, in one form for
/// each try. Gives where it listens, and what it said.
pub(super) fn parrot(words: Arc<BTreeMap<Vec<u8>, Word>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&said);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let mut lines =
                BufReader::new(stream.try_clone().unwrap()).lines().map_while(std::io::Result::ok);
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let basic = head.iter().find_map(|line| line.split_once("uthorization: Basic "));
            let password = basic.and_then(|(_, basic)| {
                let pair = base64::engine::general_purpose::STANDARD.decode(basic.trim()).ok()?;
                let colon = pair.iter().position(|b| *b == b':')?;
                Some(pair[colon + 1..].to_vec())
            });
            let Some(password) = password else {
                let _ = stream.write_all(
                    b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                );
                continue;
            };
            let forms = String::from_utf8_lossy(&words[&password].told()).into_owned();
            let forms: Vec<&str> = forms.lines().collect();
            let mut heard = heard.lock().unwrap();
            let form = forms[heard.len() % forms.len()].to_owned();
            let error = format!("ERR sorry, {form}");
            let service = "# service=git-upload-pack\n";
            let body = format!("{:04x}{service}0000{:04x}{error}", service.len() + 4, error.len() + 4);
            heard.push(form);
            drop(heard);
            let _ = stream.write_all(
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-advertisement\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            );
        }
    });
    (address, said)
}
