//! The token that an App signs itself: a JWT (RFC 7519) by RS256.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use kiops_core::error::{Error, ErrorKind, Result};
use kiops_core::name::SecretName;
use kiops_core::secret::Secret;
use zeroize::Zeroizing;

const OPERATION: &str = "sign in as GitHub App";
/// GitHub advises to begin so many seconds in the past, since clocks differ.
const BACK: i64 = 60;
/// GitHub takes ten minutes at most, by its own clock: a minute is left for ours.
const LIFE: i64 = 540;

/// An App's private key.
pub(super) struct AppKey(KeyPair);

impl AppKey {
    /// Reads a key as GitHub gives it (`BEGIN RSA PRIVATE KEY`, PKCS#1), or as PKCS#8 (`BEGIN PRIVATE KEY`). Line breaks may be written as `\n`,
    /// as they are in variables. `name` is what errors call it.
    pub(super) fn parse(pem: &Secret, name: &SecretName) -> Result<Self> {
        let refuse = |what: &str| {
            Error::new(ErrorKind::Unauthorized, OPERATION, format!("the secret `{name}` {what}")).with_remedy(
                "on the App's page at GitHub: Private keys, Generate a private key; store the whole .pem file under this name",
            )
        };
        let text = pem.expose_str().ok_or_else(|| refuse("is no private key: it is no text"))?;
        if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(refuse("is a private key under a password"));
        }
        let read = |begin: &str, end: &str| {
            let (_, rest) = text.split_once(begin)?;
            let (body, _) = rest.split_once(end)?;
            Some(decode(body))
        };
        let unreadable = || refuse("is a private key that is damaged: its text is no base64");
        let key = if let Some(der) = read("-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----")
        {
            KeyPair::from_der(&der.ok_or_else(unreadable)?)
        } else if let Some(der) = read("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----") {
            KeyPair::from_pkcs8(&der.ok_or_else(unreadable)?)
        } else {
            return Err(refuse("is no private key: it has no `BEGIN RSA PRIVATE KEY` with its end"));
        };
        key.map(Self).map_err(|_| refuse("is no RSA key of 2048 bits or more, or is damaged"))
    }

    /// A JWT for the App with this client id or App id, at GitHub's time.
    pub(super) fn sign(&self, app: &str, now: Timestamp) -> Result<Secret> {
        let claims = serde_json::json!({
            "iat": now.as_second() - BACK,
            "exp": now.as_second() + LIFE,
            "iss": app,
        });
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let header = encode(br#"{"alg":"RS256","typ":"JWT"}"#);
        let mut token = format!("{header}.{}", encode(claims.to_string().as_bytes()));
        let failed = || Error::internal(OPERATION, "the private key does not sign");
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0.sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature).map_err(|_| failed())?;
        token.push('.');
        token.push_str(&encode(&signature));
        Secret::new(token).ok_or_else(failed)
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppKey(...)")
    }
}

/// The bytes of a PEM body.
fn decode(body: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(body.len()));
    let mut bytes = body.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next_if(|byte| matches!(byte, b'n' | b'r'))),
            _ if byte.is_ascii_whitespace() => {}
            _ => text.push(byte),
        }
    }
    STANDARD.decode(&*text).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use proptest::prelude::*;

    use super::*;

    fn name() -> SecretName {
        SecretName::parse("github/app").unwrap()
    }

    fn parse(pem: &str) -> Result<AppKey> {
        AppKey::parse(&Secret::new(pem).unwrap(), &name())
    }

    fn pem(label: &str, der: &[u8], line: &str) -> String {
        let text = STANDARD.encode(der);
        let lines: Vec<_> =
            text.as_bytes().chunks(64).map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
        format!("-----BEGIN {label}-----{line}{}{line}-----END {label}-----{line}", lines.join(line))
    }

    /// A key in both forms: PKCS#8 is PKCS#1 in an envelope, whose last field it is.
    fn key() -> (Vec<u8>, Vec<u8>, KeyPair) {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let pkcs8 = der.as_ref().to_vec();
        let pkcs1 = pkcs8[26..].to_vec();
        (pkcs1, pkcs8, key)
    }

    #[test]
    fn a_key_in_every_form_signs_what_its_public_key_verifies() {
        let (pkcs1, pkcs8, key) = key();
        for text in [
            pem("RSA PRIVATE KEY", &pkcs1, "\n"),
            pem("PRIVATE KEY", &pkcs8, "\n"),
            pem("RSA PRIVATE KEY", &pkcs1, "\r\n"),
            pem("RSA PRIVATE KEY", &pkcs1, "\\n"),
            format!("\u{feff}# the key\n{}", pem("PRIVATE KEY", &pkcs8, " ")),
        ] {
            let now = Timestamp::from_second(1_900_000_000).unwrap();
            let jwt = parse(&text).unwrap().sign("Iv1.8a61f9b3a7aba766", now).unwrap();
            let parts: Vec<&str> = jwt.expose_str().unwrap().split('.').collect();
            let [header, claims, signature] = parts[..] else { panic!("a JWT has three parts") };
            let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
            public.verify(format!("{header}.{claims}").as_bytes(), &decode(signature)).unwrap();
            let json = |part| serde_json::from_slice::<serde_json::Value>(&decode(part)).unwrap();
            assert_eq!(json(header), serde_json::json!({"alg": "RS256", "typ": "JWT"}));
            let expected = serde_json::json!({"iat": 1_899_999_940, "exp": 1_900_000_540, "iss": "Iv1.8a61f9b3a7aba766"});
            assert_eq!(json(claims), expected);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_where_to_get_one_and_never_shown() {
        let (pkcs1, pkcs8, _) = key();
        let mut damaged = pkcs1.clone();
        damaged[300] ^= 1;
        for bad in [
            "hunter2".to_owned(),
            pem("RSA PRIVATE KEY", b"hunter2", "\n"),
            pem("PRIVATE KEY", &pkcs1, "\n"),
            pem("RSA PRIVATE KEY", &pkcs8, "\n"),
            pem("RSA PRIVATE KEY", &damaged, "\n"),
            pem("ENCRYPTED PRIVATE KEY", &pkcs8, "\n"),
            pem("EC PRIVATE KEY", &pkcs1, "\n"),
            pem("RSA PRIVATE KEY", &pkcs1, "\n").replace("-----END", ""),
            "-----BEGIN PRIVATE KEY-----hunter2!-----END PRIVATE KEY-----".to_owned(),
        ] {
            let error = parse(&bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
            assert!(error.remedy().is_some() && error.message().contains("github/app"), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        assert_eq!(format!("{:?}", parse(&pem("PRIVATE KEY", &pkcs8, "\n")).unwrap()), "AppKey(...)");
    }

    proptest! {
        #[test]
        fn no_text_panics(body in "\\PC{0,80}", kind in prop::sample::select(vec!["RSA PRIVATE KEY", "PRIVATE KEY", "X"])) {
            let text = format!("-----BEGIN {kind}-----{body}-----END {kind}-----");
            prop_assert!(parse(&text).is_err());
        }
    }
}
