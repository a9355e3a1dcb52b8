//! The stores as a host meets them: conformance, kills, full disks, damaged files, secrets at rest.

mod child;
mod conformance;
mod damage;
mod fixtures;
mod intake;
mod kill;
mod limits;
mod logs;
mod sealing;
