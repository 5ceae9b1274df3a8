//! Symbols and section sizes of images and libraries.

use std::path::Path;

use anyhow::{Context, Result};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};

/// Parts of symbol names that firmware must not contain: panics and allocation.
const FORBIDDEN: [&str; 12] = [
    "panicking",
    "panic_fmt",
    "panic_const",
    "panic_bounds_check",
    "unwrap_failed",
    "expect_failed",
    "slice_index_fail",
    "len_mismatch_fail",
    "__rust_alloc",
    "alloc5alloc",
    "malloc",
    "_sbrk",
];

/// Returns the forbidden symbols in an ELF file or in all files of an archive.
pub(crate) fn forbidden(file: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(file).with_context(|| format!("{}", file.display()))?;
    let mut found = Vec::new();
    if let Ok(archive) = ArchiveFile::parse(bytes.as_slice()) {
        for member in archive.members() {
            let member = member?;
            if let Ok(object) = object::File::parse(member.data(bytes.as_slice())?) {
                collect_forbidden(&object, &mut found);
            }
        }
    } else {
        collect_forbidden(&object::File::parse(bytes.as_slice())?, &mut found);
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn collect_forbidden(object: &object::File<'_>, found: &mut Vec<String>) {
    let names = object.symbols().filter_map(|symbol| symbol.name().ok().map(str::to_owned));
    found.extend(names.filter(|name| FORBIDDEN.iter().any(|part| name.contains(part))));
}

/// Size of an image in flash and RAM, in bytes, without the stack.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) flash: u64,
    pub(crate) ram: u64,
}

/// Returns the sizes of a linked image. Flash holds code, constants and the initial values of RAM; RAM holds
/// initialised and zeroed data.
pub(crate) fn sizes(elf: &Path) -> Result<Sizes> {
    let bytes = std::fs::read(elf).with_context(|| format!("{}", elf.display()))?;
    let object = object::File::parse(bytes.as_slice())?;
    let mut sizes = Sizes::default();
    for section in object.sections() {
        // defmt's table and the debug sections are not loaded into memory and have the address 0.
        let in_memory = section.address() > 0 || section.name() == Ok(".vector_table");
        match section.kind() {
            SectionKind::Text | SectionKind::ReadOnlyData if in_memory => sizes.flash += section.size(),
            SectionKind::Data => {
                sizes.flash += section.size();
                sizes.ram += section.size();
            }
            SectionKind::UninitializedData => sizes.ram += section.size(),
            _ => {}
        }
    }
    Ok(sizes)
}
