//! Control side: the manual pages, made from the command line's definition.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use handsfree::failure::Failure;

use crate::args::Cli;

/// Lines of a help text that start a section of their own, and its heading.
const HEADINGS: [(&str, &str); 3] =
    [("Examples:", "EXAMPLES"), ("Example:", "EXAMPLES"), ("Exit codes:", "EXIT STATUS")];

/// Returns the page of the command itself, handsfree(1), as troff.
///
/// # Errors
/// Returns an error if the page cannot be made.
pub fn main_page() -> Result<String, Failure> {
    page(built(), "handsfree")
}

/// Writes the pages of the command and of each subcommand into a folder, which is created if it is missing. Returns the
/// number of pages.
///
/// # Errors
/// Returns an error that names the folder or file that cannot be written.
pub fn write_pages(folder: &Path) -> Result<usize, Failure> {
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::run(format!("{} cannot be written: {error}", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    let command = built();
    let subcommands = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut pages = vec![("handsfree".to_owned(), command.clone())];
    pages.extend(subcommands.map(|command| (format!("handsfree-{}", command.get_name()), command)));
    for (name, command) in &pages {
        let path = folder.join(format!("{name}.1"));
        let text = page(command.clone(), name)?;
        std::fs::write(&path, text).map_err(|error| failed(&path, &error))?;
    }
    Ok(pages.len())
}

fn built() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

fn page(command: Command, name: &str) -> Result<String, Failure> {
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_subcommands = command.get_subcommands().any(|command| !command.is_hide_set());
    let man = Man::new(command)
        .title(name.to_uppercase())
        .source(concat!("handsfree ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut text = Vec::new();
    let rendered = man
        .render_title(&mut text)
        .and_then(|()| man.render_name_section(&mut text))
        .and_then(|()| man.render_synopsis_section(&mut text))
        .and_then(|()| man.render_description_section(&mut text))
        .and_then(|()| man.render_options_section(&mut text))
        .and_then(|()| if has_subcommands { man.render_subcommands_section(&mut text) } else { Ok(()) });
    rendered.map_err(|error| Failure::run(format!("the page {name} cannot be made: {error}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned() + &notes_sections(&notes))
}

/// Converts the text below a command's help to sections whose lines stay as they are, unlike clap_mangen, which fills them.
fn notes_sections(notes: &str) -> String {
    let mut text = String::new();
    let mut is_open = false;
    for line in notes.lines() {
        let heading = HEADINGS.iter().find(|(start, _)| line.starts_with(start));
        let (heading, line) = match heading {
            Some((start, heading)) => (Some(*heading), line[start.len()..].trim_start()),
            None => ((!is_open).then_some("NOTES"), line),
        };
        if let Some(heading) = heading {
            if is_open {
                text.push_str(".fi\n");
            }
            text.push_str(&format!(".SH \"{heading}\"\n.nf\n"));
            is_open = true;
            if line.is_empty() {
                continue;
            }
        }
        // A line that starts with a full stop or an apostrophe would be a request.
        text.push_str(if line.starts_with(['.', '\'']) { "\\&" } else { "" });
        text.push_str(&line.replace('\\', "\\e").replace('-', "\\-"));
        text.push('\n');
    }
    if is_open {
        text.push_str(".fi\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_keep_their_lines_and_become_sections() {
        let text =
            notes_sections("One-way.\n\nExamples:\n  a \\ b\n.c\n\nExit codes: 0 success,\n1 failure.");
        assert_eq!(
            text,
            ".SH \"NOTES\"\n.nf\nOne\\-way.\n\n.fi\n.SH \"EXAMPLES\"\n.nf\n  a \\e b\n\\&.c\n\n.fi\n\
             .SH \"EXIT STATUS\"\n.nf\n0 success,\n1 failure.\n.fi\n"
        );
        assert_eq!(notes_sections(""), "");
    }

    #[test]
    fn every_subcommand_has_a_page_with_its_switches() {
        let main = main_page().unwrap();
        for command in built().get_subcommands() {
            let name = format!("handsfree-{}", command.get_name());
            assert!(main.contains(&name.replace('-', "\\-")), "{name} in handsfree(1)");
            let page = page(command.clone(), &name).unwrap();
            for switch in command.get_arguments().filter(|switch| !switch.is_hide_set()) {
                if let Some(long) = switch.get_long() {
                    let long = format!("\\-\\-{}", long.replace('-', "\\-"));
                    assert!(page.contains(&long), "{name}: {long}");
                }
            }
        }
    }
}
