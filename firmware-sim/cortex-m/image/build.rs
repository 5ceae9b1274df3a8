//! Copies the linker scripts to the linker's search path.

use std::env;
use std::fs;
use std::path::PathBuf;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for script in ["memory.x", "device.x"] {
        fs::copy(script, out.join(script)).expect("linker script beside build.rs");
        println!("cargo::rerun-if-changed={script}");
    }
    // Not `rustc-link-search`, which would give this memory to every image that uses the library.
    println!("cargo::rustc-link-arg-bins=-L{}", out.display());
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rustc-link-arg-bins=--nmagic");
    println!("cargo::rustc-link-arg-bin=board=-Tdefmt.x");
}
