//! `doctor`: what the cluster lacks.

use clap::Args;
use kiops_core::name::DnsLabel;
use kiops_core::{Error, ErrorKind, Result};
use kiops_kube::doctor::{DEPLOY_RIGHTS, Verdict, examine};

use super::build::Builds;
use super::connect::Connection;
use super::write;

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The namespaces that are to be deployed to.
    namespaces: Vec<DnsLabel>,
}

impl Doctor {
    pub(crate) async fn make(self, connection: &Connection, builds: &Builds) -> Result<()> {
        let cluster = connection.open().await?;
        let mut examination = builds.examination();
        if !self.namespaces.is_empty() {
            examination = examination.and(self.namespaces, DEPLOY_RIGHTS.iter().copied());
        }
        let findings = examine(&cluster, &examination).await;
        for finding in &findings {
            write(&format!("{finding}\n"))?;
        }
        match findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count() {
            0 => Ok(()),
            n => Err(Error::new(
                ErrorKind::Unavailable,
                "examine cluster",
                format!("{n} of what was looked at will not work"),
            )),
        }
    }
}
