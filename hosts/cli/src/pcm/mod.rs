//! Application side: plain 16-bit samples that other programs write and read, in pipes, files and sockets.

pub mod endpoint;
pub mod format;
pub mod input;
pub mod mic_hub;
pub mod output;
pub mod rate_converter;
pub mod rate_hubs;
pub mod stream_header;
