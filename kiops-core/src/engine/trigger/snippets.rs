//! Ready-to-paste calls of the API trigger (R06-R09).

use serde::Serialize;

/// What to paste where. The key is a variable's: paste it into the place that the host has for secrets, under the name `KIOPS_KEY`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TriggerSnippets {
    /// For a shell.
    pub curl: String,
    /// A stage of a declarative pipeline, with a "Secret text" credential `kiops-key`.
    pub jenkins: String,
    /// A job of `.gitlab-ci.yml`, with a masked variable.
    pub gitlab_ci: String,
    /// A job of a workflow, with a repository secret.
    pub github_actions: String,
}

impl TriggerSnippets {
    /// The calls of this address.
    pub fn of(url: &str) -> Self {
        // A quote ends what a shell reads as it is.
        let url = url.replace('\'', "%27");
        // `--fail-with-body` ends the job with what was wrong; the key comes by a file descriptor, since arguments are visible to every process.
        let curl = format!(
            "printf '{{\"secret_key\":\"%s\"}}' \"$KIOPS_KEY\" | curl --fail-with-body --silent --show-error -X POST -H 'Content-Type: application/json' -d @- '{url}'"
        );
        let jenkins = format!(
            "stage('Deploy by kiops') {{\n    steps {{\n        withCredentials([string(credentialsId: 'kiops-key', variable: 'KIOPS_KEY')]) {{\n            sh '''{curl}'''\n        }}\n    }}\n}}\n"
        );
        let gitlab_ci = format!("deploy:\n  stage: deploy\n  script:\n    - |\n      {curl}\n");
        let github_actions = format!(
            "deploy:\n  runs-on: ubuntu-latest\n  steps:\n    - name: Deploy by kiops\n      env:\n        KIOPS_KEY: ${{{{ secrets.KIOPS_KEY }}}}\n      run: |\n        {curl}\n"
        );
        Self { curl, jenkins, gitlab_ci, github_actions }
    }
}
