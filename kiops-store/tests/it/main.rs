//! The stores as a host meets them: conformance, kills, full disks, damaged files, secrets at rest.

mod conformance;
