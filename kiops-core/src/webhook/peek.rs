//! Reading a few fields of a body before anything in it is believed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Reads scalars out of a JSON object and no more of it than needed, for [`super::WebhookSource::repository`].
///
/// `paths` names the fields, one key a level. After each member of the outermost object `enough` says whether to stop.
/// Strings and integers count, as text; a field that is anything else, or is not there, is `None`. Of a repeated field
/// the first is taken. Where the JSON ends or breaks, what was found so far is the answer.
///
/// The work is linear in what is read, and the stack does not grow with nesting: 100,000 brackets are skipped like one.
pub fn peek<'a, const N: usize>(
    body: &'a [u8],
    paths: [&[&str]; N],
    enough: impl Fn(&[Option<Cow<'a, str>>; N]) -> bool,
) -> [Option<Cow<'a, str>>; N] {
    let mut found = [const { None }; N];
    let mut json = serde_json::Deserializer::from_slice(without_bom(body));
    let level = Level { paths: &paths, live: [true; N], depth: 0, found: &mut found, enough: &enough };
    // The error is how reading stops early; a real one changes nothing either.
    let _ = level.deserialize(&mut json);
    found
}

/// The body without a byte order mark. Verification has seen the mark: it is only parsing that starts after it (E08).
pub fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// One object or value on the way down some of the paths.
struct Level<'f, 'p, 'a, const N: usize, F> {
    paths: &'p [&'p [&'p str]; N],
    /// Which paths lead here.
    live: [bool; N],
    depth: usize,
    found: &'f mut [Option<Cow<'a, str>>; N],
    enough: &'p F,
}

impl<'a, const N: usize, F> Level<'_, '_, 'a, N, F> {
    /// Keeps a scalar for every path that ends here.
    fn keep(self, text: Cow<'a, str>) {
        for ((slot, path), live) in self.found.iter_mut().zip(self.paths).zip(self.live) {
            if live && path.len() == self.depth && slot.is_none() {
                *slot = Some(text.clone());
            }
        }
    }
}

impl<'a, const N: usize, F> DeserializeSeed<'a> for Level<'_, '_, 'a, N, F>
where
    F: Fn(&[Option<Cow<'a, str>>; N]) -> bool,
{
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, const N: usize, F> Visitor<'a> for Level<'_, '_, 'a, N, F>
where
    F: Fn(&[Option<Cow<'a, str>>; N]) -> bool,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let mut live = self.live;
            for (live, path) in live.iter_mut().zip(self.paths) {
                *live &= path.get(self.depth).is_some_and(|step| *step == key);
            }
            if live.contains(&true) {
                map.next_value_seed(Level { live, depth: self.depth + 1, found: &mut *self.found, ..self })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if self.depth == 0 && (self.enough)(self.found) {
                return Err(A::Error::custom("enough was read"));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.keep(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.keep(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.keep(Cow::Owned(number.to_string()));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.keep(Cow::Owned(number.to_string()));
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn project(body: &[u8]) -> [Option<Cow<'_, str>>; 2] {
        peek(body, [&["project", "id"], &["project", "path"]], |found| found[1].is_some())
    }

    fn texts(found: [Option<Cow<'_, str>>; 2]) -> [Option<String>; 2] {
        found.map(|text| text.map(Cow::into_owned))
    }

    #[test]
    fn the_fields_are_found_wherever_they_stand_in_their_object() {
        let body =
            br#"{"a":[{"project":{"path":"no"}}],"project":{"path":"group/\u0061pp","x":{"id":1},"id":15}}"#;
        assert_eq!(texts(project(body)), [Some("15".into()), Some("group/app".into())]);
        assert_eq!(texts(project(b"\xef\xbb\xbf{\"project\":{\"path\":\"a\"}}")), [None, Some("a".into())]);
    }

    #[test]
    fn reading_stops_after_the_member_that_is_enough() {
        let body = br#"{"project":{"path":"group/app","id":1},"commits": [this is not JSON"#;
        assert_eq!(texts(project(body)), [Some("1".into()), Some("group/app".into())]);
    }

    #[test]
    fn the_first_of_a_repeated_field_counts() {
        let body = br#"{"project":{"path":"first","path":"second"},"project":{"path":"third"}}"#;
        assert_eq!(texts(project(body)), [None, Some("first".into())]);
    }

    #[test]
    fn a_field_of_another_type_is_not_there() {
        for value in ["null", "true", "1.5", "[1]", "{}", "{\"x\":1}", "1e400"] {
            let body = format!(r#"{{"project":{{"path":{value}}},"project_path":"x"}}"#);
            assert_eq!(project(body.as_bytes()), [None, None], "{value}");
        }
        for body in ["", "[]", "1", "\"project\"", "null", "{", "{\"project\":\"a\"}"] {
            assert_eq!(project(body.as_bytes()), [None, None], "{body}");
        }
    }

    #[test]
    fn deep_nesting_and_bad_text_in_skipped_fields_are_harmless() {
        for open in ["[", "{\"a\":"] {
            let nest = open.repeat(100_000);
            let mut body = format!(r#"{{"x":{nest}"#).into_bytes();
            assert_eq!(project(&body), [None, None]);
            let close = if open == "[" { "]" } else { "}" }.repeat(100_000);
            let inner = if open == "[" { "" } else { "1" };
            body.extend(format!(r#"{inner}{close},"project":{{"path":"a"}}}}"#).bytes());
            assert_eq!(texts(project(&body)), [None, Some("a".into())]);
            let inside = format!(r#"{{"project":{{"id":{nest}"#);
            assert_eq!(project(inside.as_bytes()), [None, None]);
        }
        let invalid = b"{\"x\":\"\xff\xfe\",\"project\":{\"path\":\"a\"}}";
        assert_eq!(texts(project(invalid)), [None, Some("a".into())]);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(body in r#"[\[\]{}:,"\\a-z0-9. -]{0,60}"#, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            project(body.as_bytes());
            project(&bytes);
            let inside = [br#"{"project":{"path":"#.as_slice(), body.as_bytes()].concat();
            project(&inside);
        }
    }
}
