//! Build script: finds RealtimeSanitizer's run-time library in the toolchain, so that tests/realtime.rs can link it. No
//! other test links the library, because it replaces malloc, which tests/allocation.rs replaces too.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(rtsan_missing)");
    println!("cargo::rerun-if-changed=build.rs");
    match library() {
        Some(library) => {
            let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
            fs::copy(&library, out.join("libhandsfree_rtsan.a")).expect("OUT_DIR can be written");
            println!("cargo::rustc-link-search=native={}", out.display());
        }
        None => println!("cargo::rustc-cfg=rtsan_missing"),
    }
}

/// Returns the library's path. Its name contains the release channel: `librustc-stable_rt.rtsan.a`.
fn library() -> Option<PathBuf> {
    let rustc = env::var_os("RUSTC")?;
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().ok()?;
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let folder = sysroot.join("lib/rustlib").join(env::var("TARGET").ok()?).join("lib");
    let is_rtsan = |name: &str| name.starts_with("librustc-") && name.ends_with("_rt.rtsan.a");
    fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_rtsan))
}
