//! Disks that are full, files that are damaged or locked, writes that fail: named, nothing lost, and all of it goes on.

mod damage;
mod disk;
mod writes;

use serde_json::Value;

use crate::support::Server;

/// The failure of a build that ended, of this kind, with cause and remedy, also in its log.
fn named<'a>(server: &Server, build: &'a Value, kind: &str) -> &'a str {
    let failure = &build["failure"];
    assert_eq!(failure["kind"], kind, "{build:#}");
    let (message, remedy) = (failure["message"].as_str().unwrap(), failure["remedy"].as_str().unwrap());
    assert!(!message.is_empty() && !remedy.is_empty(), "{failure:#}");
    let log = server.log(build);
    assert!(log.contains(message) && log.contains(remedy), "the log does not say it:\n{log}");
    message
}

/// What every build ends in: its image is what is deployed.
fn is_deployed(server: &Server, build: &Value) {
    assert_eq!(build["state"], "succeeded", "{build:#}");
    let folder = server.value("deploy").unwrap();
    let manifests = crate::support::manifests(folder.as_ref()).concat();
    assert!(manifests.contains(build["digest"].as_str().unwrap()), "{build:#}\n{manifests}");
}

/// A problem document with this status, its cause and its remedy.
fn is_problem(answer: &crate::support::Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    for key in ["title", "detail", "remedy"] {
        assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "no {key}: {problem:#}");
    }
    problem
}
