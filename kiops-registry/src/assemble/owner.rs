//! `--chown`: numbers, or names as the image's own `/etc/passwd` and `/etc/group` have them.

/// What stands in `--chown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    user: Name,
    group: Option<Name>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Id(u32),
    Name(String),
}

impl Owner {
    /// Reads `user`, `user:group` or `:group`. The error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let name = |part: &str| {
            if part.is_empty() || part.len() > 64 || part.chars().any(|c| c.is_control() || c.is_whitespace())
            {
                return Err(format!("--chown={text} is neither a user, nor user:group"));
            }
            match part.parse() {
                Ok(id) if part.bytes().all(|b| b.is_ascii_digit()) => Ok(Name::Id(id)),
                _ => Ok(Name::Name(part.to_owned())),
            }
        };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(name(group)?)),
            None => (text, None),
        };
        let user = if user.is_empty() && group.is_some() { Name::Id(0) } else { name(user)? };
        Ok(Self { user, group })
    }

    /// Whether it has a name, so that [`Owner::ids`] needs the image's files.
    pub(super) fn has_names(&self) -> bool {
        matches!(self.user, Name::Name(_)) || matches!(self.group, Some(Name::Name(_)))
    }

    /// User and group id. A named user without a group has its own from `passwd`; a numeric one has the same number.
    pub(super) fn ids(&self, passwd: &str, group: &str) -> Result<(u64, u64), String> {
        let (user, own_group) = match &self.user {
            Name::Id(id) => (*id, *id),
            Name::Name(name) => {
                let line = line_of(passwd, name)
                    .ok_or_else(|| format!("the image's /etc/passwd has no user `{name}`"))?;
                let number = |field: usize| line.split(':').nth(field)?.parse::<u32>().ok();
                let broken = || format!("the image's /etc/passwd has no numbers for `{name}`");
                (number(2).ok_or_else(broken)?, number(3).ok_or_else(broken)?)
            }
        };
        let group = match &self.group {
            None => own_group,
            Some(Name::Id(id)) => *id,
            Some(Name::Name(name)) => line_of(group, name)
                .and_then(|line| line.split(':').nth(2)?.parse().ok())
                .ok_or_else(|| format!("the image's /etc/group has no group `{name}`"))?,
        };
        Ok((user.into(), group.into()))
    }
}

fn line_of<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    file.lines().find(|line| line.split(':').next() == Some(name))
}

/// `--chmod` as an octal number. The error says what is wrong; other forms are another executor's.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777 && text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| format!("--chmod={text} is no octal number such as 644 or 0755"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/:/sbin/nologin\nbad:x:y:z\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:web\n";

    fn ids(text: &str) -> Result<(u64, u64), String> {
        Owner::parse(text)?.ids(PASSWD, GROUP)
    }

    #[test]
    fn names_and_numbers_become_ids() {
        for (text, expected) in [
            ("1000", (1000, 1000)),
            ("1000:5", (1000, 5)),
            ("web", (101, 102)),
            ("web:staff", (101, 50)),
            ("7:staff", (7, 50)),
            (":staff", (0, 50)),
        ] {
            assert_eq!(ids(text), Ok(expected), "{text}");
        }
        for bad in ["", ":", "web:", "nobody", "web:nogroup", "bad", "a b", "1:2:3"] {
            assert!(ids(bad).is_err(), "{bad}");
        }
        assert!(!Owner::parse("1:2").unwrap().has_names());
        assert!(Owner::parse("1:staff").unwrap().has_names());
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(parse_mode("0755"), Ok(0o755));
        assert_eq!(parse_mode("4711"), Ok(0o4711));
        for bad in ["", "+x", "u=rwx", "888", "77777", "+644", "-1"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,20}", file in "(?s).{0,60}") {
            if let Ok(owner) = Owner::parse(&text) {
                let _ = owner.ids(&file, &file);
            }
            let _ = parse_mode(&text);
        }
    }
}
