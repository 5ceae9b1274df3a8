//! The tests of all concerns that can share a process, one module each: one program is linked instead of thirty, and its tests keep all
//! cores busy. Run one concern with `cargo test -p handsfree-tests --test suite faults::`.
#![allow(missing_docs)]

mod adaptive_latency;
mod agent;
mod alignment;
mod alignment_faults;
mod alignment_native;
mod av_sync;
mod bare_board;
mod barge_in;
mod canceller;
mod config;
mod day;
mod default_chain;
mod echo;
mod every_sample;
mod faults;
mod frames;
mod heard;
mod late_reference;
mod loopback;
mod matched_track;
mod mixer;
mod mixing;
mod operations;
mod processors;
mod scrub;
mod seeds;
mod session;
mod shared_steps;
mod stalls;
mod stream_mixer;
mod tee;
mod track;
mod voice_faults;
mod waiting;
