//! Rules of Kubernetes for what settings say. They hold for every workload, so that it runs wherever it is deployed to.

/// A path without empty and `.` parts: `/data/` and `/data` are one; the root is empty.
pub fn normal_path(path: &str) -> String {
    path.split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .fold(String::new(), |path, part| path + "/" + part)
}

/// Whether a quantity may count in thousandths and less (`100m` of a CPU).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fractions {
    /// It may.
    Yes,
    /// It may not: bytes are whole.
    No,
}

/// Whether a text is a [quantity](https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/) above zero
/// as Kubernetes writes them: at most 32 characters, digits with at most one dot, then a suffix (`Ki` to `Ei`, `k` to `E`,
/// `m`, `u`, `n`) or a decimal exponent (`1e3`).
///
/// # Errors
/// What continues the sentence "size `x` ...".
pub fn check_quantity(text: &str, fractions: Fractions) -> Result<(), &'static str> {
    const SHAPE: &str = "is no quantity: digits and a suffix such as Mi or Gi are wanted, for example 1Gi";
    if text.len() > 32 {
        return Err("is longer than 32 characters");
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    if !number.bytes().any(|b| b.is_ascii_digit()) || number.matches('.').count() > 1 {
        return Err(SHAPE);
    }
    let exponent = || {
        let digits =
            suffix.strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        digits.is_some_and(|d| (1..=2).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()))
    };
    match suffix {
        "" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" | "k" | "M" | "G" | "T" | "P" | "E" => {}
        "n" | "u" | "m" if fractions == Fractions::Yes => {}
        _ if exponent() => {}
        _ => return Err(SHAPE),
    }
    if !number.bytes().any(|b| matches!(b, b'1'..=b'9')) {
        return Err("is zero");
    }
    Ok(())
}

/// What is asked of an Ingress path of type Prefix. The error continues the sentence "`x` ...".
pub(super) fn check_ingress_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("must start with `/`");
    }
    if path.to_ascii_lowercase().contains("%2f") {
        return Err("has an encoded slash");
    }
    if path.contains("//") || path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("has an empty part, `.` or `..`");
    }
    if path.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("has white space or control characters");
    }
    Ok(())
}

/// What is asked of a variable's name. The error continues the sentence "`x` ...".
pub(super) fn check_variable(name: &str) -> Result<(), &'static str> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(known) {
        return Err("is no variable name");
    }
    if name == "." || name.starts_with("..") {
        return Err("is no name for a variable in Kubernetes");
    }
    Ok(())
}

/// What is asked of the path that a volume is mounted at. The error continues the sentence "`x` ...".
pub(super) fn check_mount_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains(':') {
        return Err("is no absolute path");
    }
    if normal_path(path).is_empty() {
        return Err("is the whole file system, which a volume cannot be mounted over");
    }
    if path.chars().any(char::is_control) {
        return Err("has control characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for good in ["1Gi", "500Mi", "1.5Ti", "1", "10G", "1e9", "1E3", "2E", ".5Gi", "1E+3"] {
            assert!(check_quantity(good, Fractions::No).is_ok(), "{good}");
        }
        for bad in [
            "", "Gi", "1gi", "1 Gi", "-1Gi", "1GiB", "0", "0.0Gi", "1.2.3", ".", "100m", "1e", "1e999",
            "١Gi", "1Gi\n",
        ] {
            assert!(check_quantity(bad, Fractions::No).is_err(), "{bad}");
        }
        assert!(check_quantity("250m", Fractions::Yes).is_ok());
    }

    #[test]
    fn a_path_that_kubernetes_would_refuse_is_refused_here() {
        for good in ["/", "/api", "/api/v1/", "/a.b", "/..a"] {
            assert!(check_ingress_path(good).is_ok(), "{good}");
        }
        for bad in ["", "api", "//", "/a//b", "/a/../b", "/..", "/.", "/a%2Fb", "/a b", "/a\n"] {
            assert!(check_ingress_path(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_to_be_refused(text in any::<String>()) {
            let _ = check_quantity(&text, Fractions::Yes);
            let _ = (check_ingress_path(&text), check_variable(&text), check_mount_path(&text));
        }
    }
}
