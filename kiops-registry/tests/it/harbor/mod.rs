mod check;
mod faults;
mod hooks;
mod host;
mod host_answers;
mod projects;
mod robots;
mod scans;
