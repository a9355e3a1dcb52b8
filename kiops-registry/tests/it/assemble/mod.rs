//! The assembler from outside: sources in, images in a layout out.

mod bases;
mod images;
mod refusals;
mod remote;
mod runs;
mod support;
mod zstd_layers;
