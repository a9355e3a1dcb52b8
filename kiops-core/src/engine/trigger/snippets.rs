//! Ready-to-paste calls of the API trigger (R06-R09).

use serde::Serialize;

/// What to paste where. The key is a variable's: put it into the place that the host has for secrets, under the name `KIOPS_KEY`.
///
/// All run the same line, which needs `curl` and a POSIX shell, prints the answer, and fails where that is none of 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TriggerSnippets {
    /// For a shell that has the variable.
    pub curl: String,
    /// A stage of a declarative pipeline, with a "Secret text" credential `kiops-key`.
    pub jenkins: String,
    /// A job of `.gitlab-ci.yml`, with a masked variable.
    pub gitlab_ci: String,
    /// The jobs of a workflow, with a repository secret.
    pub github_actions: String,
}

impl TriggerSnippets {
    /// The calls of this address. What has no place in one and could mean something to a shell, YAML, Groovy or an expression is escaped
    /// as in addresses: quotes, backslashes, `$`, braces, blanks.
    pub fn of(url: &str) -> Self {
        let url = plain(url);
        // `--fail-with-body` ends the job with what was wrong, `--globoff` leaves the brackets of an IPv6 address alone; the key comes by
        // a pipe from a command that shells have built in, since arguments are visible to every process.
        let curl = format!(
            "printf '{{\"secret_key\":\"%s\"}}' \"$KIOPS_KEY\" | curl --fail-with-body --silent --show-error --globoff -X POST -H 'Content-Type: application/json' -d @- '{url}'"
        );
        // The line stands alone: its last quote before three others would end the string one too early. Jenkins' shell writes every
        // command into the log, key included, unless told not to.
        let jenkins = format!(
            "stage('Deploy by kiops') {{\n    steps {{\n        withCredentials([string(credentialsId: 'kiops-key', variable: 'KIOPS_KEY')]) {{\n            sh '''\n                set +x\n                {curl}\n            '''\n        }}\n    }}\n}}\n"
        );
        let gitlab_ci = format!("kiops:\n  stage: deploy\n  script:\n    - |\n      {curl}\n");
        let github_actions = format!(
            "jobs:\n  kiops:\n    runs-on: ubuntu-latest\n    permissions: {{}}\n    steps:\n      - name: Deploy by kiops\n        env:\n          KIOPS_KEY: ${{{{ secrets.KIOPS_KEY }}}}\n        run: |\n          {curl}\n"
        );
        Self { curl, jenkins, gitlab_ci, github_actions }
    }
}

/// An address of nothing but what RFC 3986 lets be in one, without quotes, `$` and parentheses.
fn plain(url: &str) -> String {
    let mut plain = String::with_capacity(url.len());
    for byte in url.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!&*+,;=%".contains(&byte) {
            true => plain.push(char::from(byte)),
            false => plain.push_str(&format!("%{byte:02X}")),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_an_address_gets_out_of_the_quotes_that_it_stands_in() {
        let odd = "https://ci.example.com/a'\"b\\c$d`e\nf ${{ secrets.X }} $[[ g ]] é/api/v1/trigger/site";
        let plain = "https://ci.example.com/a%27%22b%5Cc%24d%60e%0Af%20%24%7B%7B%20secrets.X%20%7D%7D%20%24[[%20g%20]]%20%C3%A9/api/v1/trigger/site";
        assert_eq!(TriggerSnippets::of(odd), TriggerSnippets::of(plain));
        assert!(TriggerSnippets::of(odd).curl.ends_with(&format!(" '{plain}'")));
    }

    #[test]
    fn an_address_stays_as_it_is() {
        for url in ["https://ci.example.com:8443/a%20b/api/v1/trigger/site", "http://[::1]:8080/trigger/x"] {
            assert!(TriggerSnippets::of(url).curl.ends_with(&format!(" '{url}'")), "{url}");
        }
    }
}
