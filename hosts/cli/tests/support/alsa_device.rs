//! Test support: ALSA's device `handsfree`, the plug-in and the configuration of `packaging/alsa`, in a folder of a test.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The device's configuration, with the path of a plug-in that was built for the test.
pub(crate) struct AlsaDevice {
    config: PathBuf,
    socket: PathBuf,
}

impl AlsaDevice {
    /// Builds the plug-in in the folder. Programs that use the device are clients of the service with this socket.
    pub(crate) fn build(folder: &Path, socket: &Path) -> Self {
        let plugin = folder.join("plugin.so");
        build_plugin(&plugin);
        let path = folder.join("conf");
        fs::write(&path, config(plugin.to_str().unwrap())).unwrap();
        Self { config: path, socket: socket.to_owned() }
    }

    /// Returns a command that finds the device under its name.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("PATH", path_with_handsfree())
            .env("ALSA_CONFIG_PATH", &self.config)
            .env("HANDSFREE_SOCKET", &self.socket);
        command
    }
}

/// Returns a search path on which the command under test comes first.
pub(crate) fn path_with_handsfree() -> String {
    let folder = Path::new(env!("CARGO_BIN_EXE_handsfree")).parent().unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

/// Compiles the plug-in.
pub(crate) fn build_plugin(to: &Path) {
    let compiled = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-DPIC", "-o"])
        .args([to, &packaging().join("pcm_handsfree.c")])
        .arg("-lasound")
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}

/// Returns ALSA's whole configuration, with the path of the plug-in.
pub(crate) fn config(plugin: &str) -> String {
    let config = fs::read_to_string(packaging().join("handsfree.conf")).unwrap();
    let installed = "/usr/local/lib/libasound_module_pcm_handsfree.so";
    assert!(config.contains(installed));
    format!("</usr/share/alsa/alsa.conf>\n{}", config.replace(installed, plugin))
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/alsa")
}
