//! Copies the linker scripts to the linker's search path.

use std::env;
use std::fs;
use std::path::PathBuf;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (script, name) in [("memory.x", "memory.x"), ("../image/device.x", "device.x")] {
        fs::copy(script, out.join(name)).expect("linker script beside build.rs");
        println!("cargo::rerun-if-changed={script}");
    }
    println!("cargo::rustc-link-arg-bins=-L{}", out.display());
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rustc-link-arg-bins=--nmagic");
}
