//! The files of base images, fetched and read when an instruction needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiops_core::name::Digest;

use super::base::{self, BaseImage};
use super::build::{Builder, DOCUMENT_MAX, Files, work};
use super::context::read;
use super::outcome::{Stop, invalid};
use super::owner::Owner;
use super::plan::Base;
use super::tree::{Content, Edge, Kind, Tree};

impl Builder {
    pub(super) async fn tree_of(&mut self, files: Files) -> Result<Arc<Tree>, Stop> {
        match files {
            Files::Read(tree) => Ok(tree),
            Files::Unread(image) => self.read(&image).await,
        }
    }

    /// Finds an image, once.
    pub(super) async fn image(&mut self, base: &Base, line: usize) -> Result<Arc<BaseImage>, Stop> {
        let Base::Image { image, platform } = base else {
            return Err(invalid(line, "this is no image"));
        };
        let key = format!("{image} {platform:?}");
        if let Some(found) = self.images.get(&key) {
            return Ok(Arc::clone(found));
        }
        let registry = self.registries.of(&image.name);
        let pinned = self.pinned.get(image);
        let found = async {
            let digest = match pinned {
                Some(digest) => digest.clone(),
                None => base::resolve(&**registry, image, line).await?,
            };
            base::find(&**registry, image, &digest, platform, line).await.map(|found| (digest, found))
        };
        let (digest, found) = tokio::select! {
            found = found => found?,
            () = self.run.canceled() => return Err(Stop::Canceled),
        };
        let found = Arc::new(found);
        self.pinned.insert(image.clone(), digest);
        self.images.insert(key, Arc::clone(&found));
        Ok(found)
    }

    /// Reads which files an image has.
    pub(super) async fn read(&mut self, image: &BaseImage) -> Result<Arc<Tree>, Stop> {
        self.run.line(&format!("  reading the {} layers of {}", image.layers.len(), image.name));
        let registry = Arc::clone(self.registries.of(&image.name));
        let mut layers = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            let path = self.dir.join(format!("base-{}", layer.digest.hex()));
            if !self.fetched.contains_key(&layer.digest) {
                tokio::select! {
                    fetched = base::fetch(&*registry, &image.name, layer, &path, &self.run) => fetched?,
                    () = self.run.canceled() => return Err(Stop::Canceled),
                }
                self.fetched.insert(layer.digest.clone(), path.clone());
            }
            layers.push((path, layer.digest.clone()));
        }
        let (run, max) = (Arc::clone(&self.run), self.max_base_bytes);
        work(move || {
            let mut tree = Tree::default();
            for (path, digest) in &layers {
                base::apply(&mut tree, path, digest, max, &run)?;
            }
            Ok(Arc::new(tree))
        })
        .await?
    }

    /// Fetches the content of entries that are still in layers of base images.
    pub(super) async fn fill(&mut self, tree: &mut Tree) -> Result<(), Stop> {
        let mut wanted: BTreeMap<Digest, BTreeSet<Arc<str>>> = BTreeMap::new();
        let mut any = false;
        for (_, node) in tree.iter() {
            if let Kind::File(Content::Layer { layer, path, .. }) = &node.kind {
                any = true;
                if !self.extracted.contains_key(&(layer.clone(), Arc::clone(path))) {
                    wanted.entry(layer.clone()).or_default().insert(Arc::clone(path));
                }
            }
        }
        if !any {
            return Ok(());
        }
        let layers: Vec<_> = wanted
            .into_iter()
            .filter_map(|(layer, paths)| Some((self.fetched.get(&layer)?.clone(), layer, paths)))
            .collect();
        let spool = Arc::new(self.dir.join("extracted"));
        let (run, max) = (Arc::clone(&self.run), self.max_base_bytes);
        let found = work(move || -> Result<_, Stop> {
            let mut found = Vec::new();
            for (path, layer, wanted) in layers {
                let extracted = base::extract(&path, &layer, &wanted, &spool, max, &run)?;
                found.extend(extracted.into_iter().map(|(path, content)| ((layer.clone(), path), content)));
            }
            Ok(found)
        })
        .await??;
        self.extracted.extend(found);
        tree.replace_content(|layer, path| self.extracted.get(&(layer.clone(), Arc::clone(path))).cloned());
        Ok(())
    }

    /// The ids that `--chown` stands for in an image with these files.
    pub(super) async fn owner(&mut self, tree: &Tree, text: &str, line: usize) -> Result<(u64, u64), Stop> {
        let owner = Owner::parse(text).map_err(|what| invalid(line, what))?;
        let (mut passwd, mut group) = (String::new(), String::new());
        if owner.has_names() {
            passwd = self.small_file(tree, "etc/passwd").await?;
            group = self.small_file(tree, "etc/group").await?;
        }
        owner
            .ids(&passwd, &group)
            .map_err(|what| invalid(line, what).with_remedy("use numbers: --chown=1000:1000"))
    }

    /// The text of a small file of an image; empty where there is none.
    async fn small_file(&mut self, tree: &Tree, path: &str) -> Result<String, Stop> {
        let Ok(path) = tree.resolve(path, true, Edge::Clamp) else { return Ok(String::new()) };
        let Some(node) = tree.get(&path).filter(
            |node| matches!(&node.kind, Kind::File(content) if content.size() <= DOCUMENT_MAX as u64),
        ) else {
            return Ok(String::new());
        };
        let mut one = Tree::default();
        one.insert(path.clone(), node.clone());
        self.fill(&mut one).await?;
        match one.get(&path).map(|node| &node.kind) {
            Some(Kind::File(content)) => Ok(String::from_utf8_lossy(&read(content)?).into_owned()),
            _ => Ok(String::new()),
        }
    }
}
