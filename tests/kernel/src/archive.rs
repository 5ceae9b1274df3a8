//! The second archive of the initramfs, in cpio's `newc` format: programs under test with their libraries. The kernel
//! unpacks it over the first archive.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{MachineFailure, Result};

/// An archive that is built in memory.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// Adds a program as `/bin/NAME`, and its libraries under the same paths as on this machine.
    pub(crate) fn program(&mut self, path: &Path) -> Result<()> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| {
            MachineFailure::new(format!("{}: expected the path of a program", path.display()))
        })?;
        self.file(path, &format!("/bin/{name}"))?;
        for library in libraries(path)? {
            self.file(Path::new(&library), &library)?;
        }
        Ok(())
    }

    /// Adds a file at a path of the guest. All files are executable.
    pub(crate) fn file(&mut self, path: &Path, guest_path: &str) -> Result<()> {
        let contents = fs::read(path).map_err(MachineFailure::of(path.display()))?;
        let name = guest_path.trim_start_matches('/');
        for (at, _) in name.match_indices('/') {
            self.entry(&name[..at], 0o040_755, &[]);
        }
        self.entry(name, 0o100_755, &contents);
        Ok(())
    }

    /// Returns the complete archive, which is empty if nothing was added.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if !self.names.is_empty() {
            self.entry("TRAILER!!!", 0, &[]);
        }
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        if !self.names.insert(name.to_owned()) {
            return;
        }
        // The magic number is followed by thirteen numbers: inode, mode, user, group, links, time, size, two pairs of
        // device numbers, length of the name, checksum.
        let number = self.names.len();
        let mut header = String::from("070701");
        for field in [number, mode as usize, 0, 0, 1, 0, contents.len(), 0, 0, 0, 0, name.len() + 1, 0] {
            header.push_str(&format!("{field:08x}"));
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Returns the libraries that `ldd` finds and the loader; nothing for a static program.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let listing = Command::new("ldd").arg(program).output().map_err(MachineFailure::of("ldd"))?;
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    if let Some(line) = listing.lines().find(|line| line.contains("not found")) {
        return Err(MachineFailure::new(format!("{}: {}", program.display(), line.trim())));
    }
    // Lines read `libc.so.6 => /lib/libc.so.6 (0x...)`, and for the loader `/lib64/ld-linux.so.2 (0x...)`.
    let paths = listing.lines().filter_map(|line| {
        let path = line.split_once("=> ").map_or(line, |(_, path)| path).trim();
        path.starts_with('/').then(|| path.split(" (").next().unwrap_or(path).to_owned())
    });
    Ok(paths.collect())
}
