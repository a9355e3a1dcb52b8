//! What the decoders share: payloads that take what is there and mind nothing else.
//!
//! A registry's word for an event decides whether a body is read at all; a field that is of another type than documented, in an
//! event that starts nothing, is no reason to refuse the delivery. So every field here is one that may be missing, and what is
//! no text where text belongs counts as missing. Only what is no JSON, or repeats a field, is an error.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use kiops_core::webhook::{parse_body, peek};
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// So many things (pushes, tags, layers) one list of a body may hold. Real deliveries have a few.
pub(super) const LIST_MAX: usize = 1000;

/// So many characters of a name, a digest or an event's word are kept.
pub(super) const TEXT_MAX: usize = 255;

/// The start of a text that may be of any length.
pub(super) fn short(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

/// A string or an integer, as text, or with `FLOATS` any number. Whatever else stands there is nothing.
#[derive(Debug, Clone)]
pub(super) struct Scalar<'a, const FLOATS: bool>(Option<Cow<'a, str>>);

/// What [`peek`] takes for text, too.
pub(super) type Word<'a> = Scalar<'a, false>;

/// A time in any form.
pub(super) type Moment<'a> = Scalar<'a, true>;

/// An object. Whatever else stands there is nothing.
#[derive(Debug, Clone)]
pub(super) struct Maybe<T>(Option<T>);

/// A list of at most [`LIST_MAX`] things. Whatever else stands there is an empty one; `stated` says whether it was a list.
#[derive(Debug, Clone)]
pub(super) struct List<T> {
    pub stated: bool,
    pub items: Vec<T>,
}

/// Tags: a list of them, or an object whose keys they are (Quay's older form).
#[derive(Debug, Clone, Default)]
pub(super) struct Tags<'a>(pub List<Word<'a>>);

impl<const FLOATS: bool> Scalar<'_, FLOATS> {
    /// The text, where there is some.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// The text, or an empty one.
    pub(super) fn or_empty(&self) -> &str {
        self.get().unwrap_or_default()
    }
}

impl<const FLOATS: bool> Default for Scalar<'_, FLOATS> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Maybe<T> {
    pub(super) const fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { stated: false, items: Vec::new() }
    }
}

impl<'a, 'de: 'a, const FLOATS: bool> Deserialize<'de> for Scalar<'a, FLOATS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor::<FLOATS>).map(Scalar)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaybeVisitor(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = deserializer.deserialize_any(ListVisitor { item: PhantomData, keys: None })?;
        Ok(Self { stated: items.is_some(), items: items.unwrap_or_default() })
    }
}

impl<'a, 'de: 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys: Option<fn(Cow<'de, str>) -> Word<'de>> = Some(|key| Scalar(Some(key)));
        let items = deserializer.deserialize_any(ListVisitor { item: PhantomData, keys })?;
        Ok(Self(List { stated: items.is_some(), items: items.unwrap_or_default() }))
    }
}

/// The visits that are nothing, whatever is asked for.
macro_rules! nothing {
    ($($visit:ident: $type:ty),* $(,)?) => {
        $(fn $visit<E>(self, _: $type) -> Result<Self::Value, E> {
            Ok(None)
        })*

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any JSON value")
        }
    };
}

/// An object or a list that nobody wants. Its depth costs no stack.
macro_rules! skipped {
    (map) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    };
    (seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    };
}

struct ScalarVisitor<const FLOATS: bool>;

impl<'de, const FLOATS: bool> Visitor<'de> for ScalarVisitor<FLOATS> {
    type Value = Option<Cow<'de, str>>;

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(FLOATS.then(|| Cow::Owned(number.to_string())))
    }

    nothing!(visit_bool: bool);
    skipped!(map);
    skipped!(seq);
}

struct MaybeVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MaybeVisitor<T> {
    type Value = Option<T>;

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }

    nothing!(visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_str: &str);
    skipped!(seq);
}

struct ListVisitor<'de, T> {
    item: PhantomData<T>,
    /// What an object's key is, where an object counts as the list of its keys.
    keys: Option<fn(Cow<'de, str>) -> T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<'de, T> {
    type Value = Option<Vec<T>>;

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            push(&mut items, item)?;
        }
        Ok(Some(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            map.next_value::<IgnoredAny>()?;
            if let Some(item) = self.keys {
                push(&mut items, item(key))?;
            }
        }
        Ok(self.keys.map(|_| items))
    }

    nothing!(visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_str: &str);
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn push<T, E: serde::de::Error>(items: &mut Vec<T>, item: T) -> Result<(), E> {
    if items.len() == LIST_MAX {
        return Err(E::custom(format_args!("a list has more than {LIST_MAX} entries")));
    }
    items.push(item);
    Ok(())
}

impl<const FLOATS: bool> Serialize for Scalar<'_, FLOATS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<T: Serialize> Serialize for Maybe<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stated.then_some(&self.items).serialize(serializer)
    }
}

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The body with those fields alone that `P` reads. Of a body that cannot be read nothing is kept but `null`.
pub(super) fn kept<'a, P: Deserialize<'a> + Serialize>(body: &'a [u8]) -> Bytes {
    const NOTHING: Bytes = Bytes::from_static(b"null");
    let written = || {
        let payload: P = parse_body(body, "notification").ok()?;
        let mut value = serde_json::to_value(payload).ok()?;
        drop_nulls(&mut value);
        serde_json::to_vec(&value).ok()
    };
    written().map_or(NOTHING, Bytes::from)
}

/// Takes away the members that say nothing. Entries of a list stay: their number counts.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The first of these fields that holds text. All of them are read, so that it does not matter which comes first.
pub(super) fn first_of<'a, const N: usize>(body: &'a [u8], paths: [&[&str]; N]) -> Option<Cow<'a, str>> {
    let found = peek(body, paths, |found| found[0].as_deref().is_some_and(|text| !text.is_empty()));
    found.into_iter().flatten().find(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Default, Deserialize, Serialize)]
    #[serde(default)]
    struct Any<'a> {
        #[serde(borrow)]
        word: Word<'a>,
        #[serde(borrow)]
        time: Moment<'a>,
        #[serde(borrow)]
        inner: Maybe<Inner<'a>>,
        #[serde(borrow)]
        list: List<Maybe<Inner<'a>>>,
        #[serde(borrow)]
        tags: Tags<'a>,
    }

    #[derive(Debug, Default, Deserialize, Serialize)]
    #[serde(default)]
    struct Inner<'a> {
        #[serde(borrow)]
        word: Word<'a>,
    }

    fn read(body: &str) -> Any<'_> {
        parse_body(body.as_bytes(), "test").unwrap()
    }

    #[test]
    fn a_field_of_another_type_is_not_there() {
        for value in ["null", "true", "[1,[{}]]", "{\"word\":[]}", "\"\""] {
            let body = format!(r#"{{"word":{value},"time":{value},"inner":{value},"list":{value}}}"#);
            let any = read(&body);
            assert_eq!((any.word.get(), any.time.get()), (None, None), "{value}");
            assert!(any.inner.get().is_none_or(|inner| inner.word.get().is_none()), "{value}");
            assert!(any.list.items.iter().all(|item| item.get().is_none_or(|i| i.word.get().is_none())));
        }
        let any = read(r#"{"word":1.5,"time":1.5}"#);
        assert_eq!((any.word.get(), any.time.get()), (None, Some("1.5")));
        let any = read(r#"{"word":-7,"time":1417566161,"inner":{"word":"\u0061"},"list":[{"word":"b"},3]}"#);
        assert_eq!((any.word.get(), any.time.get()), (Some("-7"), Some("1417566161")));
        assert_eq!(any.inner.get().unwrap().word.get(), Some("a"));
        assert_eq!((any.list.stated, any.list.items.len()), (true, 2));
        assert_eq!(read(r#"{"time":1.417566161e+09}"#).time.get(), Some("1417566161"));
    }

    #[test]
    fn tags_are_a_list_or_the_keys_of_an_object() {
        let tags = |body: &str| -> Vec<String> {
            read(body).tags.0.items.iter().map(|tag| tag.or_empty().to_owned()).collect()
        };
        assert_eq!(tags(r#"{"tags":["a","b"]}"#), ["a", "b"]);
        assert_eq!(tags(r#"{"tags":{"a":"x","b":[{}]}}"#), ["a", "b"]);
        assert_eq!(tags(r#"{"tags":"a"}"#), Vec::<String>::new());
    }

    #[test]
    fn a_list_without_end_is_refused_and_deep_nesting_is_skipped() {
        let list = |length: usize| format!(r#"{{"list":[{}0]}}"#, "0,".repeat(length - 1));
        assert_eq!(read(&list(LIST_MAX)).list.items.len(), LIST_MAX);
        let error = parse_body::<Any<'_>>(list(LIST_MAX + 1).as_bytes(), "test").unwrap_err();
        assert!(error.message().contains("more than 1000 entries"), "{error}");
        for field in ["word", "time", "inner", "list", "tags"] {
            let deep = format!(r#"{{"{field}":[{}{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
            assert!(read(&deep).word.get().is_none());
        }
    }

    #[test]
    fn what_is_kept_is_what_is_read() {
        let body =
            br#"{"secret":"x","word":"a","time":1.5,"inner":{"word":null,"y":1},"list":[1,{"word":2}]}"#;
        let once = kept::<Any<'_>>(body);
        assert_eq!(once, r#"{"inner":{},"list":[null,{"word":"2"}],"time":"1.5","word":"a"}"#);
        assert_eq!(kept::<Any<'_>>(&once), once);
        assert_eq!(kept::<Any<'_>>(b"{\"word\":"), "null");
        assert_eq!(kept::<Any<'_>>(br#"{"word":"a","word":"b"}"#), "null");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(body in r#"[\[\]{}:,"\\a-z0-9. -]{0,60}"#) {
            for field in ["word", "time", "inner", "list", "tags"] {
                let body = format!(r#"{{"{field}":{body}}}"#);
                let once = kept::<Any<'_>>(body.as_bytes());
                prop_assert_eq!(kept::<Any<'_>>(&once), once);
            }
        }
    }
}
