//! The code in READMEs and in docs/EMBEDDING.md, as tests: this package knows every crate that they speak of.

macro_rules! document {
    ($name:ident, $path:literal) => {
        #[doc = include_str!($path)]
        pub struct $name;
    };
}

document!(Root, "../../README.md");
document!(Core, "../../kiops-core/README.md");
document!(Git, "../../kiops-git/README.md");
document!(Registry, "../../kiops-registry/README.md");
document!(Store, "../../kiops-store/README.md");
document!(Embedding, "../../docs/EMBEDDING.md");
