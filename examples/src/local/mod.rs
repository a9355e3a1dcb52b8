//! Everything on one machine: SQLite, a bare Git repository, the in-process assembler, an image layout and a directory of
//! manifests, all below one folder; or a cluster in the manifests' place.

mod place;
mod runtime;
mod site;

pub use place::{Place, write_atomically};
pub use runtime::{Kubernetes, Runtime};
pub use site::push_site;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use kiops_core::engine::{Adapters, Driver, DriverConfig, Ingest, IngestLimits, SystemClock, TriggerApi};
use kiops_core::event::Repository;
use kiops_core::filter::RefFilter;
use kiops_core::log::LogStore;
use kiops_core::name::{
    BranchName, ContainerName, EnvironmentName, GitRef, ImageName, MemberId, ProviderName, ServiceName,
};
use kiops_core::policy::Rules;
use kiops_core::provider::GitProvider;
use kiops_core::secret::Secret;
use kiops_core::service::readiness::ReadinessFacts;
use kiops_core::service::{
    AutoDeploy, Component, Environment, GitSource, ImageTarget, NamespaceRule, Service, Settings, Source,
    Target, Workload,
};
use kiops_core::store::{Hook, Page, Store};
use kiops_core::webhook::SecretSet;
use kiops_core::{Error, Result};
use kiops_git::plain::{HookCommand, LocalGit, Plain, PlainConfig, install_hook};
use kiops_registry::assemble::{Assembler, AssemblerConfig};
use kiops_registry::layout::{ImageLayout, LayoutConfig};
use kiops_store::{LogFiles, LogFilesConfig, SqliteConfig, SqliteStore, StoreSecrets};
use tokio::net::TcpListener;

use crate::http::{
    AnySender, App, HostPolicy, LocalOwner, RequestLimits, Surroundings, is_connected, router, senders, serve,
};

/// The service's name.
pub const SERVICE: &str = "site";

/// The environment's name.
pub const ENVIRONMENT: &str = "dev";

/// The word that stands where a registry's host would.
pub const IMAGE_HOST: &str = "quickstart.local";

/// A running platform below one folder.
#[derive(Debug)]
pub struct Local {
    /// The folder and what lies where in it.
    pub place: Arc<Place>,
    /// Performs and answers.
    pub driver: Driver,
    /// Git, by its own identity.
    pub git: LocalGit,
    /// Where the API listens.
    pub address: SocketAddr,
    listener: TcpListener,
    layout: ImageLayout,
    app: App,
}

/// What a host may want otherwise than the quickstart has it.
#[derive(Debug)]
pub struct LocalConfig {
    /// The port on 127.0.0.1; 0 is any that is free.
    pub port: u16,
    /// The program that the repository's hook runs.
    pub hook: HookCommand,
    /// Where everything is kept; `None`: in the folder's database, as [`open_store`] opens it.
    pub store: Option<Arc<dyn Store>>,
    /// How the driver works.
    pub driver: DriverConfig,
    /// The host's own rules.
    pub rules: Rules,
    /// Where releases go.
    pub runtime: Runtime,
}

impl LocalConfig {
    /// As the quickstart has it.
    pub fn new(port: u16, hook: HookCommand) -> Self {
        let (driver, rules) = (DriverConfig::new("local"), Rules::none());
        Self { port, hook, store: None, driver, rules, runtime: Runtime::Manifests }
    }
}

/// Opens the folder's database, after `change` had its say.
pub async fn open_store(
    place: &Place,
    change: impl FnOnce(&mut SqliteConfig) + Send,
) -> Result<Arc<SqliteStore>> {
    let keys = kiops_store::keys_from_env_or_file(place.key_file())?;
    let mut config = SqliteConfig::new(place.database());
    change(&mut config);
    Ok(Arc::new(SqliteStore::open(config, keys).await?))
}

impl Local {
    /// Opens the folder, in this order: lock, listen, tell the port, write the hook; then the parts.
    pub async fn open(place: Place, config: LocalConfig) -> Result<Self> {
        let LocalConfig { port, hook, store, driver, rules, runtime } = config;
        let kept = place.image_port().filter(|_| port == 0 && runtime.pulls_from_here());
        let address = SocketAddr::from(([127, 0, 0, 1], kept.unwrap_or(port)));
        LocalOwner::check_address(address)?;
        let listen = |error: std::io::Error| {
            Error::unavailable("listen", format!("{address}: {error}")).with_remedy(match kept {
                Some(_) => "end what listens there: the cluster pulls this folder's images from that address",
                None => "choose another --port, or 0 for any",
            })
        };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        write_atomically(&place.port_file(), address.port().to_string().as_bytes(), 0o600)?;
        let git = LocalGit::default();
        git.init_bare(&place.repository()).await?;
        install_hook(&place.repository(), &hook)?;

        let store = match store {
            Some(store) => store,
            None => open_store(&place, |_| ()).await?,
        };
        let logs: Arc<dyn LogStore> = Arc::new(LogFiles::open(LogFilesConfig::new(place.logs()))?);
        let layout = ImageLayout::open(LayoutConfig::new(place.layout()))?;
        let provider: Arc<dyn GitProvider> = Arc::new(Plain::new(PlainConfig::on_disk(place.root()))?);
        let images = runtime.images(address, &layout)?;
        let assembler = Assembler::with_registries(
            AssemblerConfig::new(place.work()),
            Arc::new(layout.clone()),
            images.registries.clone(),
        )?;
        let deployer = runtime.deployer(&place).await?;
        let environment = runtime.environment(deployer.name())?;
        let mut adapters = Adapters::builder()
            .provider(provider)
            .executor(Arc::new(assembler))
            .deployer(deployer)
            .secrets(Arc::new(StoreSecrets::new(store.clone())));
        for (host, registry) in images.registries {
            adapters = adapters.registry(host, registry);
        }
        let driver = Driver::new(store, logs, adapters.build(), rules, Arc::new(SystemClock), driver);
        register(&driver, &place, environment, images.name).await?;
        if runtime.pulls_from_here() {
            write_atomically(&place.image_port_file(), address.port().to_string().as_bytes(), 0o600)?;
        }

        let ingest =
            Ingest::new(senders(), IngestLimits::default(), random()?).with_detector(Arc::new(AnySender));
        let app = App {
            driver: driver.clone(),
            ingest: Arc::new(ingest),
            trigger: Arc::new(TriggerApi::new(random()?)),
            authenticate: Arc::new(LocalOwner::new(MemberId::parse("owner")?)),
            hosts: HostPolicy::default(),
            limits: RequestLimits::default(),
            surroundings: Arc::new(LocalSurroundings::new(driver.clone())),
            layout: Some(Arc::new(layout.clone())),
        };
        Ok(Self { place: Arc::new(place), driver, git, address, listener, layout, app })
    }

    /// Whether nothing was ever pushed here: `main` is not there, and no delivery tells that it ever was.
    pub async fn is_new(&self) -> Result<bool> {
        if self.driver.store().deliveries(None, Page::first(1)).await?.total > 0 {
            return Ok(false);
        }
        let provider = self.driver.adapters().provider(&ProviderName::parse("plain")?)?;
        let repository = Repository { id: None, path: self.place.repository_name()? };
        Ok(provider.head(&repository, &GitRef::parse("refs/heads/main")?).await?.is_none())
    }

    /// The router, for tests that call it without a connection.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Serves and works until `shutdown` resolves.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let grace = Duration::from_secs(5);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let until = |mut stopped: tokio::sync::watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        tokio::spawn(async move {
            shutdown.await;
            stop.send_replace(true);
            // The sender lives as long as somebody listens.
            stop.closed().await;
        });
        let limits = self.app.limits.clone();
        let served = serve(self.listener, router(self.app), &limits, until(stopped.clone()), grace);
        let worked = self.driver.run(until(stopped.clone()), grace);
        let collected = collect(self.layout, until(stopped));
        tokio::join!(served, worked, collected);
    }
}

/// Removes blobs that no image needs, at the start and once an hour.
async fn collect(layout: ImageLayout, stopped: impl Future<Output = ()>) {
    let rounds = async {
        loop {
            if let Err(error) = layout.gc().await {
                tracing::warn!(%error, "the image layout could not be tidied up");
            }
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
    };
    tokio::select! {
        () = rounds => {}
        () = stopped => {}
    }
}

/// Registers the environment, the service and its hook, where they are missing. Settings that somebody changed stay.
async fn register(driver: &Driver, place: &Place, environment: Environment, image: ImageName) -> Result<()> {
    let store = driver.store();
    let name = ServiceName::parse(SERVICE)?;
    match store.environments().await?.into_iter().find(|known| known.name == environment.name) {
        Some(known) => same_place(&known, &environment)?,
        None => store.put_environment(&environment).await?,
    }
    let environment = environment.name;
    let repository = Repository { id: None, path: place.repository_name()? };
    let known = store.service(&name).await?;
    if let Some(known) = &known
        && let Source::Git(source) = &known.value.source
        && source.repository != repository
    {
        // The folder was moved, and the repository with it.
        let source = Source::Git(GitSource { repository: repository.clone(), ..source.clone() });
        let service = Service { source, ..known.value.clone() };
        store.put_service(&service, Some(known.version), driver.now()).await?;
    }
    if let Some(known) = &known
        && let Some(target) = &known.value.settings.image
        && image.host() != IMAGE_HOST
        && driver.adapters().registry(&target.name).is_err()
    {
        let message =
            format!("the images of `{SERVICE}` are called {}, and nothing of that host is here", target.name);
        return Err(Error::conflict("open folder", message).with_remedy(
            "start it with the --port or --image that it was begun with, or choose another --dir",
        ));
    }
    if known.is_none() {
        let service = Service {
            name: name.clone(),
            source: Source::Git(GitSource {
                provider: ProviderName::parse("plain")?,
                repository: repository.clone(),
                branch: BranchName::parse("main")?,
            }),
            settings: settings(environment, image)?,
        };
        service.settings.validate()?;
        store.put_service(&service, None, driver.now()).await?;
    }
    let secret = hook_secret(place)?;
    let hook = Hook {
        service: name,
        provider: ProviderName::parse("plain")?,
        repository,
        hook: None,
        secrets: SecretSet::new([secret]),
    };
    store.put_hook(&hook).await
}

/// What a folder was begun with, it goes on with: what runs elsewhere would be forgotten.
fn same_place(known: &Environment, wanted: &Environment) -> Result<()> {
    if (&known.runtime, &known.namespace) == (&wanted.runtime, &wanted.namespace) {
        return Ok(());
    }
    let words = |one: &Environment| match &one.namespace {
        NamespaceRule::Fixed(namespace) => format!("{}, namespace {namespace}", one.runtime),
        NamespaceRule::Service => one.runtime.clone(),
    };
    let message = format!("this folder deploys to {}, not to {}", words(known), words(wanted));
    Err(Error::conflict("open folder", message).with_remedy(
        "start it with the --runtime and --namespace that it was begun with, or choose another --dir",
    ))
}

/// Only `main`, no tags, every file, released by itself.
fn settings(environment: EnvironmentName, image: ImageName) -> Result<Settings> {
    let mut settings = Settings::default();
    settings.auto_ci.push.branches = RefFilter::parse(["main"])?;
    settings.image = Some(ImageTarget {
        name: image,
        candidate: kiops_core::image::TagTemplate::short_commit(),
        tags: vec![kiops_core::image::TagTemplate::parse("latest")?],
    });
    settings.deploy = AutoDeploy { auto: true, environment: Some(environment), previews: None };
    let mut workload = Workload::single(ContainerName::parse("web")?, Some(8080));
    for container in &mut workload.containers {
        container.ingress_path = Some("/".into());
    }
    settings.components = vec![Component { runs: Some(Target::Workload(workload)), ..Component::default() }];
    Ok(settings)
}

/// The secret that the hook signs with: made once, readable by its owner only.
fn hook_secret(place: &Place) -> Result<Secret> {
    let path = place.hook_secret();
    let missing = || {
        Error::corrupt("read hook secret", format!("`{}` is empty", path.display()))
            .with_remedy("remove the file")
    };
    match std::fs::read(&path) {
        Ok(found) => Secret::new(found).ok_or_else(missing),
        Err(_) => {
            let secret = format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(random()?));
            write_atomically(&path, secret.as_bytes(), 0o600)?;
            Secret::new(secret).ok_or_else(missing)
        }
    }
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::unavailable("draw a secret", error.to_string()))?;
    Ok(bytes)
}

/// What readiness asks about on this machine: no credential is needed; the webhook, the Dockerfile and the runtime are looked for.
#[derive(Debug)]
pub struct LocalSurroundings {
    driver: Driver,
}

impl LocalSurroundings {
    /// The surroundings that a driver works in.
    pub const fn new(driver: Driver) -> Self {
        Self { driver }
    }

    /// Whether the tracked branch has the first component's Dockerfile; `None`: there is no branch to look at.
    async fn dockerfile(&self, service: &Service) -> Result<Option<bool>> {
        let (Some(git), Some(component)) = (service.source.git(), service.settings.components.first()) else {
            return Ok(None);
        };
        let provider = self.driver.adapters().provider(&git.provider)?;
        let Some(head) = provider.head(&git.repository, &GitRef::Branch(git.branch.clone())).await? else {
            return Ok(None);
        };
        let path = component.dockerfile_path();
        Ok(Some(provider.file(&git.repository, &head, &path, DOCKERFILE_MAX).await?.is_some()))
    }
}

/// The largest Dockerfile that is looked at, in bytes.
const DOCKERFILE_MAX: usize = 1 << 20;

#[async_trait]
impl Surroundings for LocalSurroundings {
    async fn facts(&self, service: &Service) -> Result<ReadinessFacts> {
        let store = self.driver.store();
        let hook = store.hook(&service.name).await?;
        let secret = hook.is_some_and(|hook| hook.secrets.valid(self.driver.now()).next().is_some());
        let delivered = is_connected(store.as_ref(), &service.name).await?;
        let dockerfile = self.dockerfile(service).await.unwrap_or_else(|error| {
            // A service is shown also while its Git host is away.
            tracing::warn!(service = %service.name, %error, "the Dockerfile could not be looked for");
            None
        });
        let mut facts = ReadinessFacts::local()
            .with_webhook(secret)
            .with_delivered(delivered)
            .with_heads(self.driver.heads_every(), self.driver.listed(&service.name))
            .with_dockerfile(dockerfile);
        if let Some(seen) = self.driver.seen_bases(&service.name).await? {
            facts = facts.with_unfollowed_bases(seen.unfollowed.len());
        }
        if let Some(name) = &service.settings.deploy.environment {
            let environments = self.driver.store().environments().await?;
            let runtime = environments.iter().find(|environment| environment.name == *name);
            facts = facts.with_runtime(Some(
                runtime.is_some_and(|one| self.driver.adapters().has_runtime(&one.runtime)),
            ));
        }
        Ok(facts)
    }
}
