//! The assembler from outside: sources in, images in a layout out.

mod bases;
mod docker;
mod images;
mod platforms;
mod refusals;
mod remote;
mod runs;
mod support;
mod zstd_layers;
