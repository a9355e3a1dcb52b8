//! Setting an image in a YAML file that somebody wrote, and touching nothing else in it. Pure.

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle};
use kiops_core::name::{ContainerName, PinnedImage};
use kiops_core::{Error, Result};

const OPERATION: &str = "set image";
/// How deep a file may be nested.
const DEPTH_MAX: usize = 64;

/// The file with the container's image set; everything else, comments and blank lines too, stays as it is.
///
/// The container is found in one of these, in any of the file's documents:
/// - Kubernetes: an entry of `containers` or `initContainers` with its name; its `image` is set to `name:tag@digest`;
/// - Kustomize: an entry of `images` with its name, which has a `digest`; `newName` and `newTag` are set where they are there;
/// - Helm values and Compose: a key of its name, below which `image` is a text, or has a `digest`, and a `repository`, `registry`
///   and `tag` that are set where they are there.
///
/// # Errors
/// [`Invalid`](kiops_core::ErrorKind::Invalid) for a file that is no YAML, or where the image is written in a way that cannot be replaced
/// (an alias, a block); [`NotFound`](kiops_core::ErrorKind::NotFound) where no container of that name is in it;
/// [`Conflict`](kiops_core::ErrorKind::Conflict) where several are.
pub fn set_image(text: &str, container: &ContainerName, image: &PinnedImage) -> Result<String> {
    let documents = parse(text)?;
    let mut places = Vec::new();
    for document in &documents {
        find(document, None, container.as_str(), &mut places);
    }
    let place = match &places[..] {
        [place] => *place,
        [] => {
            return Err(Error::not_found(OPERATION, format!("there is no container `{container}` with an image"))
                .with_remedy(
                    "name the container as the file does; of Kustomize's images and Helm's values, write a digest that can be set",
                ));
        }
        several => {
            return Err(Error::conflict(
                OPERATION,
                format!("container `{container}` is there {} times", several.len()),
            )
            .with_remedy("keep one container of that name in the file"));
        }
    };
    let mut edits = place.edits(image)?;
    edits.sort_by_key(|edit| edit.range.start);
    let mut new = String::with_capacity(text.len() + 128);
    let mut from = 0;
    for edit in &edits {
        new.push_str(&text[from..edit.range.start]);
        new.push_str(&edit.text);
        from = edit.range.end;
    }
    new.push_str(&text[from..]);
    // What was written must be read as it was meant, and everything else as before.
    let changed: Vec<(usize, &str)> = edits.iter().map(|edit| (edit.at, edit.value.as_ref())).collect();
    if scalars(&parse(&new)?) != with(scalars(&documents), &changed) {
        return Err(Error::invalid(OPERATION, "the image cannot be set without changing something else")
            .with_remedy("write the image in a line of its own, without anchors"));
    }
    Ok(new)
}

/// A piece of a document.
#[derive(Debug)]
enum Node<'t> {
    Scalar(Scalar<'t>),
    Map(Vec<(Self, Self)>),
    List(Vec<Self>),
    Alias,
}

#[derive(Debug)]
struct Scalar<'t> {
    value: Cow<'t, str>,
    style: ScalarStyle,
    range: Range<usize>,
    anchored: bool,
    /// Which of the file's scalars it is.
    at: usize,
}

/// Something that has the container's image.
#[derive(Debug, Clone, Copy)]
enum Place<'t> {
    /// `image: name:tag@digest`
    Whole(&'t Scalar<'t>),
    /// An entry of Kustomize's `images`.
    Kustomize(&'t [(Node<'t>, Node<'t>)]),
    /// The parts of an image in Helm's values.
    Parts(&'t [(Node<'t>, Node<'t>)]),
}

struct Edit<'t> {
    at: usize,
    range: Range<usize>,
    value: Cow<'t, str>,
    text: String,
}

impl<'t> Node<'t> {
    fn scalar(&self) -> Option<&Scalar<'t>> {
        match self {
            Self::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        self.scalar().map(|scalar| scalar.value.as_ref())
    }
}

fn get<'n, 't>(map: &'n [(Node<'t>, Node<'t>)], key: &str) -> Option<&'n Node<'t>> {
    map.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
}

/// Every place below a node. `key` is the key of the list that the node is an entry of.
fn find<'n>(node: &'n Node<'n>, key: Option<&str>, container: &str, places: &mut Vec<Place<'n>>) {
    match node {
        Node::List(entries) => entries.iter().for_each(|entry| find(entry, key, container, places)),
        Node::Map(map) => {
            if get(map, "name").and_then(Node::text) == Some(container) {
                match key {
                    Some("containers" | "initContainers") => {
                        places.extend(get(map, "image").and_then(Node::scalar).map(Place::Whole));
                    }
                    Some("images") if get(map, "digest").is_some() => places.push(Place::Kustomize(map)),
                    _ => {}
                }
            }
            for (name, value) in map {
                let name = name.text();
                if let (true, Node::Map(inner)) = (name == Some(container), value) {
                    match get(inner, "image") {
                        Some(Node::Scalar(image)) => places.push(Place::Whole(image)),
                        Some(Node::Map(parts)) if get(parts, "digest").is_some() => {
                            places.push(Place::Parts(parts));
                        }
                        _ => {}
                    }
                }
                find(value, name, container, places);
            }
        }
        Node::Scalar(_) | Node::Alias => {}
    }
}

impl<'t> Place<'t> {
    fn edits(self, image: &PinnedImage) -> Result<Vec<Edit<'t>>> {
        let tag = || image.tag.as_ref().map(ToString::to_string).unwrap_or_default();
        let (map, parts) = match self {
            Self::Whole(scalar) => return Ok(vec![replace(scalar, image.to_string())?]),
            Self::Kustomize(map) => (map, vec![("newName", image.name.to_string()), ("newTag", tag())]),
            Self::Parts(map) if get(map, "registry").is_some() => {
                let path = image.name.path().to_owned();
                (map, vec![("registry", image.name.host().to_owned()), ("repository", path), ("tag", tag())])
            }
            Self::Parts(map) => (map, vec![("repository", image.name.to_string()), ("tag", tag())]),
        };
        let parts = parts.into_iter().chain([("digest", image.digest.to_string())]);
        let edit = |(key, value): (&str, String)| match get(map, key)? {
            Node::Scalar(scalar) => Some(replace(scalar, value)),
            _ => Some(Err(unwritable(key))),
        };
        parts.filter_map(edit).collect()
    }
}

fn replace<'t>(scalar: &Scalar<'t>, value: String) -> Result<Edit<'t>> {
    if scalar.anchored {
        return Err(unwritable("an anchor"));
    }
    let text = match scalar.style {
        ScalarStyle::SingleQuoted => format!("'{value}'"),
        ScalarStyle::DoubleQuoted => format!("\"{value}\""),
        // A tag such as 1.10 would be a number.
        ScalarStyle::Plain if scalar.range.is_empty() => return Err(unwritable("nothing")),
        ScalarStyle::Plain if !value.contains(':') => format!("\"{value}\""),
        ScalarStyle::Plain => value.clone(),
        _ => return Err(unwritable("a block")),
    };
    Ok(Edit { at: scalar.at, range: scalar.range.clone(), value: value.into(), text })
}

fn unwritable(what: &str) -> Error {
    Error::invalid(OPERATION, format!("the image is written as {what}, which cannot be replaced"))
        .with_remedy("write it as a text in its line: `\"\"` where there is none yet")
}

/// The values of all scalars in order, by which two files are compared, and the shape around them.
fn scalars(documents: &[Node<'_>]) -> Vec<String> {
    fn walk(node: &Node<'_>, out: &mut Vec<String>) {
        match node {
            Node::Scalar(scalar) => out.push(format!("={}", scalar.value)),
            Node::Alias => out.push("*".to_owned()),
            Node::List(entries) => {
                out.push(format!("[{}", entries.len()));
                entries.iter().for_each(|entry| walk(entry, out));
            }
            Node::Map(entries) => {
                out.push(format!("{{{}", entries.len()));
                for (key, value) in entries {
                    walk(key, out);
                    walk(value, out);
                }
            }
        }
    }
    let mut out = vec![format!("{}", documents.len())];
    documents.iter().for_each(|document| walk(document, &mut out));
    out
}

/// The same with these scalars changed.
fn with(mut all: Vec<String>, changed: &[(usize, &str)]) -> Vec<String> {
    let values = all.iter_mut().filter(|text| text.starts_with('='));
    for (at, text) in values.enumerate() {
        if let Some((_, value)) = changed.iter().find(|(changed, _)| *changed == at) {
            *text = format!("={value}");
        }
    }
    all
}

fn parse(text: &str) -> Result<Vec<Node<'_>>> {
    let mut options = Options::default();
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    // What is open, and its children so far.
    let mut open: Vec<(bool, Vec<Node<'_>>)> = Vec::new();
    let mut count = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            Error::invalid(OPERATION, format!("no YAML: {error}"))
                .with_remedy("a template is no YAML: keep the image in a values file")
        })?;
        let node = match event {
            Event::Scalar(value, style, anchor, _) => {
                let range = span.byte_range().unwrap_or_default();
                count += 1;
                Node::Scalar(Scalar { value, style, range, anchored: anchor != 0, at: count - 1 })
            }
            Event::Alias(_) => Node::Alias,
            Event::SequenceStart(..) => {
                open.push((false, Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((true, Vec::new()));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((true, children)) => Node::Map(pairs(children)),
                Some((false, children)) => Node::List(children),
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            Some((_, children)) => children.push(node),
            None => documents.push(node),
        }
    }
    Ok(documents)
}

fn pairs(children: Vec<Node<'_>>) -> Vec<(Node<'_>, Node<'_>)> {
    let mut children = children.into_iter();
    let mut pairs = Vec::new();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        pairs.push((key, value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::ErrorKind;
    use kiops_core::name::{Digest, ImageRef};

    fn image(text: &str) -> PinnedImage {
        let image = ImageRef::parse(text).unwrap();
        PinnedImage { name: image.name, tag: image.tag, digest: Digest::of(b"x") }
    }

    fn set(text: &str) -> Result<String> {
        set_image(text, &ContainerName::parse("web").unwrap(), &image("reg.example/team/web:1.10"))
    }

    fn pinned() -> String {
        image("reg.example/team/web:1.10").to_string()
    }

    #[test]
    fn a_manifest_keeps_its_comments_its_order_and_its_other_containers() {
        let text = "# ours\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - image: old:1 # the site\n        name: web\n\n      - name: side\n        image: other:2\n---\nkind: Service\n";
        assert_eq!(set(text).unwrap(), text.replace("old:1", &pinned()));
    }

    #[test]
    fn quotes_stay_as_they_are() {
        for quote in ['"', '\''] {
            let text = format!("containers: [{{name: web, image: {quote}old{quote}}}]\n");
            assert_eq!(set(&text).unwrap(), text.replace("old", &pinned()));
        }
    }

    #[test]
    fn an_image_of_kustomize_takes_name_tag_and_digest() {
        let text = "kind: Kustomization\nimages:\n- name: web\n  newName: old\n  newTag: 1.0\n  digest: sha256:00\n- name: side\n  newTag: 2.0\n";
        let digest = Digest::of(b"x");
        let expected = text
            .replace("newName: old", "newName: \"reg.example/team/web\"")
            .replace("newTag: 1.0", "newTag: \"1.10\"")
            .replace("sha256:00", digest.as_str());
        assert_eq!(set(text).unwrap(), expected);
    }

    #[test]
    fn values_take_the_parts_that_they_have() {
        let digest = Digest::of(b"x");
        let text = "web:\n  replicas: 2\n  image:\n    registry: a\n    repository: b\n    tag: c\n    digest: \"\"\n";
        let expected = text
            .replace(": a\n", ": \"reg.example\"\n")
            .replace(": b\n", ": \"team/web\"\n")
            .replace(": c\n", ": \"1.10\"\n")
            .replace("\"\"", &format!("\"{digest}\""));
        assert_eq!(set(text).unwrap(), expected);
        let text = "web: {image: {repository: b, digest: ''}}\n";
        let expected =
            format!("web: {{image: {{repository: \"reg.example/team/web\", digest: '{digest}'}}}}\n");
        assert_eq!(set(text).unwrap(), expected);
    }

    #[test]
    fn a_file_of_compose_has_its_services_by_name() {
        let text = "services:\n  web:\n    image: old\n  db:\n    image: mysql:8\n";
        assert_eq!(set(text).unwrap(), text.replace("old", &pinned()));
    }

    #[test]
    fn no_container_several_and_what_cannot_be_replaced_are_told_apart() {
        let kind = |text: &str| set(text).unwrap_err().kind();
        assert_eq!(kind("containers: [{name: side, image: x}]"), ErrorKind::NotFound);
        assert_eq!(kind(""), ErrorKind::NotFound);
        assert_eq!(kind("web: {image: {tag: x}}"), ErrorKind::NotFound, "nowhere to write the digest");
        let twice = "containers: [{name: web, image: x}]\n---\ncontainers: [{name: web, image: y}]\n";
        assert_eq!(kind(twice), ErrorKind::Conflict);
        assert_eq!(kind("containers: [{name: web, image: &a x}]\nb: *a\n"), ErrorKind::Invalid);
        assert_eq!(kind("containers:\n- name: web\n  image: |\n    x\n"), ErrorKind::Invalid);
        assert_eq!(kind("containers:\n- name: web\n  image:\n"), ErrorKind::Invalid);
        assert_eq!(kind("{{ .Values.web }}: ]"), ErrorKind::Invalid);
        assert_eq!(kind(&"[".repeat(100_000)), ErrorKind::Invalid);
    }

    #[test]
    fn setting_the_image_that_is_there_changes_nothing() {
        let once = set("containers: [{name: web, image: old}]\n").unwrap();
        assert_eq!(set(&once).unwrap(), once);
        let once = set("web: {image: {repository: b, tag: x, digest: y}}\n").unwrap();
        assert_eq!(set(&once).unwrap(), once);
    }

    proptest::proptest! {
        /// Whatever stands in a file: no panic, and a file that was changed reads as before but for the image.
        #[test]
        fn nothing_but_the_image_ever_changes(
            before in "[ -~\n]{0,60}",
            indent in 0usize..4,
            after in "[ -~\n#:\\-]{0,60}",
        ) {
            let text = format!("{before}\nx:\n{0:1$}containers:\n{0:1$}- name: web\n{0:1$}  image: old\n{after}", "", indent);
            if let Ok(new) = set(&text) {
                proptest::prop_assert_eq!(new.replace(&pinned(), "old"), text.replace(&pinned(), "old"));
            }
        }
    }
}
