//! Flash of an image by the source file of each instruction.
//!
//! Inlined code counts for the file that it was written in. Code of other crates and of the standard library
//! that is inlined into the core counts as the core's.

use std::collections::BTreeMap;
use std::path::Path;

use addr2line::gimli::{Dwarf, EndianSlice, Error, LittleEndian};
use anyhow::{Context as _, Result};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

/// Returns the bytes of each part, in display order. `total` is the size of the image.
pub(crate) fn flash(elf: &Path, total: u64) -> Result<Vec<(String, u64)>> {
    let bytes = std::fs::read(elf).with_context(|| format!("{}", elf.display()))?;
    let object = object::File::parse(bytes.as_slice())?;
    let dwarf = Dwarf::load(|section| {
        let data = object.section_by_name(section.name()).map_or(Ok(&[][..]), |section| section.data());
        Ok::<_, Error>(EndianSlice::new(data.unwrap_or(&[]), LittleEndian))
    })?;
    let lines = addr2line::Context::from_dwarf(dwarf)?;
    let mut parts: BTreeMap<FlashPart, u64> = BTreeMap::new();
    for symbol in object.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        // The lowest bit of a function's address only marks Thumb code.
        let begin = symbol.address() & !1;
        for address in (begin..begin + symbol.size()).step_by(2) {
            *parts.entry(part(&lines, address, symbol.name()?)?).or_default() += 2;
        }
    }
    let data = object
        .sections()
        .filter(|section| matches!(section.kind(), SectionKind::ReadOnlyData | SectionKind::Data));
    parts.insert(
        FlashPart::Constants,
        data.filter(|section| section.address() > 0).map(|section| section.size()).sum(),
    );
    let known: u64 = parts.values().sum();
    parts.insert(FlashPart::Other, parts.get(&FlashPart::Other).unwrap_or(&0) + total.saturating_sub(known));
    Ok(parts.into_iter().map(|(part, bytes)| (part.title(), bytes)).collect())
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FlashPart {
    /// Code in a folder of the core's source.
    Folder(String),
    /// Code in the core's source files outside the folders.
    Root,
    /// Constant data.
    Constants,
    /// Routines of the compiler and of libm.
    Compiler,
    /// The image's own interrupts, loop and vectors.
    Other,
}

impl FlashPart {
    fn title(&self) -> String {
        match self {
            Self::Folder(folder) => format!("core/src/{folder}"),
            Self::Root => "core/src: rings, frames, samples, time".to_owned(),
            Self::Constants => "constants".to_owned(),
            Self::Compiler => "the compiler's routines: copies, 64-bit division, conversions".to_owned(),
            Self::Other => "the image's own".to_owned(),
        }
    }
}

type Lines<'a> = addr2line::Context<EndianSlice<'a, LittleEndian>>;

fn part(lines: &Lines<'_>, address: u64, symbol: &str) -> Result<FlashPart> {
    let mut frames = lines.find_frames(address).skip_all_loads()?;
    while let Some(frame) = frames.next()? {
        let Some(file) = frame.location.and_then(|location| location.file) else { continue };
        // The standard library has a folder core/src, too.
        if let Some((before, within)) = file.split_once("/core/src/")
            && !before.ends_with("library")
        {
            return Ok(within
                .split_once('/')
                .map_or(FlashPart::Root, |(folder, _)| FlashPart::Folder(folder.to_owned())));
        }
    }
    let is_compiler_routine =
        symbol.contains("compiler_builtins") || symbol.starts_with("__") || symbol.contains("libm");
    Ok(if is_compiler_routine || ["fmaxf", "fminf", "memcmp"].contains(&symbol) {
        FlashPart::Compiler
    } else {
        FlashPart::Other
    })
}
