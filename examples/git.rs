//! A Git host from the command line: every call of `GitProvider` and of its capabilities.
//!
//! ```text
//! cargo run --example git -- --provider gitlab --url https://gitlab.example.com --token-env TOKEN repositories --search api
//! cargo run --example git -- --provider plain --url /srv/git branches /srv/git/app.git
//! ```
//!
//! Prints JSON (files and archives as they are) and ends with 0; with 1 and a message where something is wrong, with 2 where the
//! arguments are. Secrets are named by environment variables, never given as arguments: those are visible to every process.

#[path = "git/calls.rs"]
mod calls;
#[path = "git/connect.rs"]
mod connect;
#[path = "git/deploy.rs"]
mod deploy;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use self::calls::Call;
use self::connect::Connection;

/// A Git host from the command line.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    call: Call,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { connection, call } = Arguments::parse();
    let result = match connection.open() {
        Ok(provider) => call.make(provider).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading any more.
            drop(writeln!(std::io::stderr(), "error: {error}"));
            ExitCode::FAILURE
        }
    }
}
