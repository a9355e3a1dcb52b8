//! Forms with files in them (RFC 7578).

use sha2::{Digest as _, Sha256};

/// A form: fields and files in the order in which they were put in.
#[derive(Debug, Default)]
pub(crate) struct Multipart {
    parts: Vec<(String, Vec<u8>)>,
}

impl Multipart {
    /// Puts a field in.
    pub(crate) fn field(&mut self, name: &str, value: &str) {
        let head = format!("Content-Disposition: form-data; name=\"{name}\"");
        self.parts.push((head, value.as_bytes().to_vec()));
    }

    /// Puts a file in. `name` must have neither quotes, backslashes nor control characters; `further` is what else its disposition says.
    pub(crate) fn file(&mut self, name: &str, further: &str, content: &[u8]) {
        let head = format!(
            "Content-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"{further}\r\nContent-Type: application/octet-stream"
        );
        self.parts.push((head, content.to_vec()));
    }

    /// The content type and the bytes. The boundary is a hash of all parts: none of them can have it in it.
    pub(super) fn encoded(&self) -> (String, Vec<u8>) {
        let mut hash = Sha256::new();
        for (head, content) in &self.parts {
            hash.update(head.as_bytes());
            hash.update(content);
        }
        let boundary: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut bytes = Vec::new();
        for (head, content) in &self.parts {
            bytes.extend_from_slice(format!("--{boundary}\r\n{head}\r\n\r\n").as_bytes());
            bytes.extend_from_slice(content);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={boundary}"), bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_files_are_parts_of_their_own() {
        let mut form = Multipart::default();
        form.field("message", "Deploy");
        form.file("/a b", "; x=\"y\"", b"--\r\n");
        let (content_type, bytes) = form.encoded();
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nDeploy\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"/a b\"; filename=\"/a b\"; x=\"y\"\r\nContent-Type: application/octet-stream\r\n\r\n--\r\n\r\n--{boundary}--\r\n"
        );
        assert_eq!(text, expected);
    }
}
